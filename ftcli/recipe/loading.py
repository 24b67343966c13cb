"""Loading a recipe: YAML and overrides to a Recipe, or to every problem at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ftcli.errors import ModelError, PlanError, Problem, RecipeError, UsageError
from ftcli.recipe.keys import VOID_WITH_LBFGS, Recipe
from ftcli.recipe.problems import placed, problems_of, shown
from ftcli.recipe.yaml12 import Document, KeyPath, dotted, dump_yaml, load_yaml

_LARGEST_BYTES = 200_000
"""Far more than any recipe has; reading a larger file would only delay the error."""

_GIVE_A_PATH = "Give the path of a recipe such as config.yaml."
_NO_PIPES = "Pipes, - and <(...) are not supported: write the recipe to a file first."


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply `KEY=VALUE` overrides.

    Raises RecipeError with every problem of keys and values at once, and UsageError for a missing file.
    """
    return parse_recipe(read_document(path), overrides)


def read_document(path: Path) -> Document:
    """Read the YAML of a recipe file. Raises RecipeError for broken YAML, and UsageError for a missing file."""
    return load_yaml(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        if path.is_dir():
            hint = f"To train on the images in it, write `data: {{root: {path}}}` into a file such as recipe.yaml."
            raise UsageError("this is a folder, not a recipe", where=str(path), hint=hint)
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise UsageError("this is not a file", where=str(path), hint=f"{_GIVE_A_PATH} {_NO_PIPES}")
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        near = difflib.get_close_matches(path.name, _recipes_next_to(path), n=1)
        hint = f"Did you mean {path.parent / near[0]}?" if near else _GIVE_A_PATH
        hint = f"{_GIVE_A_PATH} {_NO_PIPES}" if str(path) == "-" else hint
        raise UsageError(f"cannot read the recipe: {error.strerror}", where=str(path), hint=hint) from error
    if len(content) > _LARGEST_BYTES:
        raise RecipeError([Problem("", f"larger than {_LARGEST_BYTES:,} bytes, so it is not a recipe", str(path))])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError([Problem("", "not a UTF-8 text file", str(path))]) from error


def parse_recipe(document: Document, overrides: Sequence[str] = ()) -> Recipe:
    """Validate a document with overrides applied. Raises RecipeError with every problem at once."""
    if not isinstance(document.value, dict):
        message = "empty; a recipe needs at least data.root" if document.value is None else "not a mapping of keys"
        raise RecipeError([Problem("", message, document.source)])
    places: dict[KeyPath, Problem] = {}
    value, problems = document.value, list[Problem]()
    for override in overrides:
        try:
            value = _overridden(value, override, places)
        except RecipeError as error:
            problems.extend(error.problems)
    known = Recipe.model_fields["format"].default
    if value.get("format", known) != known:  # keys of another format mean nothing here
        message = f"is {shown(value['format'])}; this ftcli reads format {known}: use the version that wrote the recipe"
        raise RecipeError([placed(("format",), message, document, places)])
    problems.extend(_conflicts(value, document, places))
    try:
        recipe = Recipe.model_validate(value)
    except ValidationError as error:
        problems.extend(problems_of(error, value, document, places))
    if problems:
        raise RecipeError(problems)
    return recipe


@contextmanager
def naming_places(document: Document, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Add the line of the document, or the override, to an error about a group, a model's name or the plan.

    Other errors name files, whose names may look like keys.
    """
    try:
        yield
    except (PlanError, ModelError) as error:
        key = error.where or ""
        if (isinstance(error, PlanError) or key == "model.name") and (place := _place_of(key, document, overrides)):
            raise type(error)(f"{key}: {error.message}", where=place, hint=error.hint) from error
        raise


def _place_of(key: str, document: Document, overrides: Sequence[str]) -> str | None:
    """Return the place of a dotted key or of the nearest section around it; None if neither is in the recipe.

    Overrides come first: an override of a section replaces all that the file has in it.
    """
    given = {dotted(_override_path(text.partition("=")[0].strip())): f"override {text!r}" for text in overrides}
    written = {dotted(of_key): f"{document.source}:{line}" for of_key, line in document.lines.items() if of_key}
    parts = key.split(".")
    around = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((places[name] for places in (given, written) for name in around if name in places), None)


def recipe_from(values: Mapping[str, Any], *, source: str) -> Recipe:
    """Return the recipe in the plain data of a run or a checkpoint; `source` names it in errors."""
    return parse_recipe(Document(dict(values), {}, source))


def recipe_text(recipe: Recipe) -> str:
    """Write a recipe as YAML with every default; `load_recipe` reads the same recipe back."""
    return dump_yaml(recipe.model_dump(mode="json"))


def _recipes_next_to(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir() if entry.suffix in {".yaml", ".yml"}]
    except OSError:  # only the suggestion is lost
        return []


def _overridden(value: dict[str, Any], override: str, places: dict[KeyPath, Problem]) -> dict[str, Any]:
    """Return a copy of `value` with one override applied."""
    key, equals, text = override.partition("=")
    source = f"override {override!r}"
    if not equals or not key.strip():
        raise RecipeError([Problem("", "an override is KEY=VALUE, such as epochs=3", source)])
    path = _override_path(key.strip())
    places[path] = Problem(dotted(path), "", source)
    # In an override, a text that begins with > is not a YAML block but a condition without the quotes of its shell.
    given = text.strip() if text.lstrip().startswith(">") else load_yaml(text, source).value
    return dict(_set(value, path, given, Problem(dotted(path), "", source)))


def _override_path(key: str) -> KeyPath:
    """Split a dotted key; below `lr` the rest is one group name, dots and all."""
    parts = key.split(".")
    lr = next((i for i, part in enumerate(parts) if part == "lr" and parts[0] == "strategy"), None)
    if lr is not None and lr + 1 < len(parts):
        parts = [*parts[: lr + 1], ".".join(parts[lr + 1 :])]
    return tuple(
        int(part) if part.isdecimal() and i > 0 and parts[i - 1] == "phases" else part for i, part in enumerate(parts)
    )


def _set(container: Any, path: KeyPath, value: Any, place: Problem) -> Any:
    """Return a copy of `container` with `value` at `path`, creating mappings on the way."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(key, int):
        if not isinstance(container, list) or key >= len(container):
            count = len(container) if isinstance(container, list) else 0
            raise RecipeError([Problem(place.key, f"there are {count} phases, counted from 0", place.source)])
        return [_set(item, rest, value, place) if i == key else item for i, item in enumerate(container)]
    if container is not None and not isinstance(container, dict):
        message = f"holds the single value {shown(container)}, so {key!r} cannot be set in it; override all of it"
        raise RecipeError([Problem(place.key, message, place.source)])
    present = container or {}
    return {**present, key: _set(present.get(key), rest, value, place)}


def _conflicts(value: Mapping[str, Any], document: Document, places: Mapping[KeyPath, Problem]) -> Iterable[Problem]:
    """Find keys of different sections that cannot both have an effect."""
    strategy, model = value.get("strategy"), value.get("model")
    kind = strategy.get("kind") if isinstance(strategy, dict) else None
    weights = model.get("weights") if isinstance(model, dict) else None
    if kind == "phases" and value.get("epochs") is not None:
        message = "would have no effect with strategy.kind: phases, whose phases have their own; remove it"
        yield placed(("epochs",), message, document, places)
    if kind == "from-scratch" and weights not in {None, "none"}:
        message = "would have no effect with strategy.kind: from-scratch; remove it or write none"
        yield placed(("model", "weights"), message, document, places)
    if kind == "from-scratch" and _given(model, ("batchnorm",)) == "eval":
        message = "cannot be eval with strategy.kind: from-scratch, whose weights have no statistics yet; remove it"
        yield placed(("model", "batchnorm"), message, document, places)
    if value.get("seeds") is not None and value.get("seed") is not None:
        yield placed(("seed",), "would have no effect with seeds; remove one of them", document, places)
    if _given(value, ("data", "share_views")) is False and _given(value, ("data", "views")) == "fresh":
        message = "would have no effect with data.views: fresh, which depend on the seed; remove it"
        yield placed(("data", "share_views"), message, document, places)
    if kind == "feature-extract" and strategy is not None and strategy.get("solver") == "lbfgs":
        yield from _void_with_lbfgs(value, document, places)


def _void_with_lbfgs(
    value: Mapping[str, Any], document: Document, places: Mapping[KeyPath, Problem]
) -> Iterable[Problem]:
    for path, reason in VOID_WITH_LBFGS.items():
        if _given(value, path) is not None:
            message = f"would have no effect with strategy.solver: lbfgs, which {reason}; remove it"
            # An override may have set a key inside the section.
            place = next((place for place in places if place[: len(path)] == path), path)
            yield placed(place, message, document, places)
    if _given(value, ("data", "views")) == "fresh":
        message = "must be a number with strategy.solver: lbfgs, which fits a fixed set of views at once"
        yield placed(("data", "views"), message, document, places)


def _given(value: Any, path: KeyPath) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
