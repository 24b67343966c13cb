"""Owns turning YAML and overrides into a Recipe, or into every problem at once."""

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
"""Far beyond any recipe; what is larger would only take long to be refused."""

_GIVE_A_PATH = "Give the path of a recipe such as config.yaml."
_NO_PIPES = "Pipes, - and <(...) are not taken: write the recipe to a file first."


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply `KEY=VALUE` overrides.

    Raises RecipeError with every problem of keys and values at once, and UsageError for a missing file.
    """
    return parse_recipe(load_yaml(_read(path), str(path)), overrides)


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise UsageError("is not a file", where=str(path), hint=f"{_GIVE_A_PATH} {_NO_PIPES}")
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        near = difflib.get_close_matches(path.name, _recipes_beside(path), n=1)
        hint = f"Did you mean {path.parent / near[0]}?" if near else _GIVE_A_PATH
        hint = f"{_GIVE_A_PATH} {_NO_PIPES}" if str(path) == "-" else hint
        raise UsageError(f"cannot read the recipe: {error.strerror}", where=str(path), hint=hint) from error
    if len(content) > _LARGEST_BYTES:
        raise RecipeError([Problem("", f"larger than {_LARGEST_BYTES:,} bytes, so not a recipe", str(path))])
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
    if value.get("format", known) != known:  # the rest cannot be judged then
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
def naming_places(path: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Let the error of an unknown group or model, or of an impossible plan, say where its key stands.

    That is the line in the file, or the override. Other errors name files, which may be called as keys are.
    """
    try:
        yield
    except (PlanError, ModelError) as error:
        key = error.where or ""
        if (isinstance(error, PlanError) or key == "model.name") and (place := _place_of(key, path, overrides)):
            raise type(error)(f"{key}: {error.message}", where=place, hint=error.hint) from error
        raise


def _place_of(key: str, path: Path, overrides: Sequence[str]) -> str | None:
    """Return the place of a dotted key or of the nearest section around it, None where it is no key of the recipe.

    An override of a section replaces what the file says within it, and so comes first.
    """
    given = {dotted(_override_path(text.partition("=")[0].strip())): f"override {text!r}" for text in overrides}
    lines = load_yaml(_read(path), str(path)).lines
    written = {dotted(of_key): f"{path}:{line}" for of_key, line in lines.items() if of_key}
    parts = key.split(".")
    around = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((places[name] for places in (given, written) for name in around if name in places), None)


def recipe_from(values: Mapping[str, Any], *, source: str) -> Recipe:
    """Return the recipe that a run or a checkpoint carries as plain data; `source` names it in errors."""
    return parse_recipe(Document(dict(values), {}, source))


def recipe_text(recipe: Recipe) -> str:
    """Write a recipe as YAML with every default; `load_recipe` reads the same recipe back."""
    return dump_yaml(recipe.model_dump(mode="json"))


def _recipes_beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir() if entry.suffix in {".yaml", ".yml"}]
    except OSError:  # a suggestion is all that is lost
        return []


def _overridden(value: dict[str, Any], override: str, places: dict[KeyPath, Problem]) -> dict[str, Any]:
    """Return `value` with one override applied; `value` itself stays as it is."""
    key, equals, text = override.partition("=")
    source = f"override {override!r}"
    if not equals or not key.strip():
        raise RecipeError([Problem("", "an override is KEY=VALUE, such as epochs=3", source)])
    path = _override_path(key.strip())
    places[path] = Problem(dotted(path), "", source)
    # On a single line, what begins with > is no block of YAML but a condition whose quotes the shell took off.
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
        message = f"there is a single value, {shown(container)}, where {key!r} should go; override the whole of it"
        raise RecipeError([Problem(place.key, message, place.source)])
    present = container or {}
    return {**present, key: _set(present.get(key), rest, value, place)}


def _conflicts(value: Mapping[str, Any], document: Document, places: Mapping[KeyPath, Problem]) -> Iterable[Problem]:
    """Find keys of different sections that would make one another void."""
    strategy, model = value.get("strategy"), value.get("model")
    kind = strategy.get("kind") if isinstance(strategy, dict) else None
    weights = model.get("weights") if isinstance(model, dict) else None
    if kind == "phases" and value.get("epochs") is not None:
        message = "would have no effect beside strategy.kind: phases, whose phases have their own; remove it"
        yield placed(("epochs",), message, document, places)
    if kind == "from-scratch" and weights not in {None, "none"}:
        message = "would have no effect beside strategy.kind: from-scratch; remove it or write none"
        yield placed(("model", "weights"), message, document, places)
    if value.get("seeds") is not None and value.get("seed") is not None:
        yield placed(("seed",), "would have no effect beside seeds; remove one of them", document, places)
    if kind == "feature-extract" and strategy is not None and strategy.get("solver") == "lbfgs":
        yield from _void_with_lbfgs(value, document, places)


def _void_with_lbfgs(
    value: Mapping[str, Any], document: Document, places: Mapping[KeyPath, Problem]
) -> Iterable[Problem]:
    for path, reason in VOID_WITH_LBFGS.items():
        if _given(value, path) is not None:
            message = f"would have no effect beside strategy.solver: lbfgs, which {reason}; remove it"
            # An override may have set something inside of it.
            place = next((place for place in places if place[: len(path)] == path), path)
            yield placed(place, message, document, places)
    if _given(value, ("data", "views")) == "fresh":
        message = "would give lbfgs, which fits all views at once, one of each image; give their number"
        yield placed(("data", "views"), message, document, places)


def _given(value: Any, path: KeyPath) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
