"""Problems of a recipe in plain words: the place of each, what is wrong, and the nearest valid spelling."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ftcli.errors import Problem
from ftcli.recipe.keys import Recipe, Section
from ftcli.recipe.yaml12 import Document, KeyPath, dotted, parse_scalar

_MESSAGES = {
    "missing": "is required",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "string_too_short": "must not be empty",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "mapping_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "union_tag_not_found": "needs the key `kind`",
    "value_error": "{error}",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
}

_MEANT = {"gpu": "cuda"}
"""Words whose meaning is not the valid word with the nearest letters."""

_MAX_CHARACTERS = 80
"""The longest part of a wrong value that an error repeats."""


def problems_of(
    error: ValidationError, value: Mapping[str, Any], document: Document, places: Mapping[KeyPath, Problem]
) -> Iterable[Problem]:
    """Return what pydantic refuses, each at its line of the document, or at its override in `places`."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # empty only because its items were refused, which is reported already
        path = _data_path(detail, value)
        message, suggestion = _message(detail, path, value)
        yield placed(path, message, document, places, suggestion)


def placed(
    path: KeyPath, message: str, document: Document, places: Mapping[KeyPath, Problem], suggestion: str | None = None
) -> Problem:
    """Return a problem at its place: an override of the key or inside it, or the line of the longest known part."""
    if inside := [place for place in places if path and place[: len(path)] == path]:
        return Problem(dotted(path), message, places[inside[-1]].source, None, suggestion)
    for length in range(len(path), -1, -1):
        if path[:length] in places:
            return Problem(dotted(path), message, places[path[:length]].source, None, suggestion)
        if path[:length] in document.lines:
            line = document.lines[path[:length]]
            return Problem(dotted(path), message, document.source, line, suggestion)
    return Problem(dotted(path), message, document.source, None, suggestion)


def shown(value: object) -> str:
    """Return a wrong value as errors repeat it."""
    text = repr(value)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


def _data_path(detail: ErrorDetails, value: Any) -> KeyPath:
    """Drop from pydantic's location the parts that name a branch of a union and not a key of the data."""
    path: list[str | int] = []
    for position, part in enumerate(detail["loc"]):
        last = position == len(detail["loc"]) - 1
        known = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        if part in known:
            value = value[part]
            path.append(part)
        elif last and detail["type"] == "missing":
            path.append(part)
    if detail["type"] == "union_tag_invalid":
        path.append("kind")
    return tuple(path)


def _message(detail: ErrorDetails, path: KeyPath, value: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return what is wrong, and the nearest valid spelling if there is one."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path, value)
    template = _MESSAGES.get(kind)
    message = template.format(**context) if template else detail["msg"]
    given = detail["input"]
    if detail["loc"][-1] == "[key]":
        near = _nearest(given, [str(context["expected"])])
        return "is not a metric" if near else f"is not a metric; it must be {context['expected']}", near
    if kind == "literal_error":
        return f"{message}, not {shown(given)}", _nearest(
            given, str(context["expected"]).replace("'", "").split(" or ")
        )
    if kind == "union_tag_invalid":
        return f"{message}, not {shown(context['tag'])}", _nearest(context["tag"], _words(context["expected_tags"]))
    if kind in {"missing", "union_tag_not_found", "value_error", "too_short"}:
        return message, None
    return f"{message}, not {shown(given)}{_remark(message, path, given)}", None


def _remark(message: str, path: KeyPath, given: object) -> str:
    """Return what to do about a value of another type, where it is plain what was meant."""
    if message == _MESSAGES["model_type"] and isinstance(given, str):
        inner = {"model": "name", "strategy": "kind", "optimizer": "kind", "schedule": "kind", "data": "root"}
        return f"; did you mean {dotted(path)}.{inner[str(path[-1])]}?" if path[-1] in inner else ""
    if path == ("strategy", "lr") and isinstance(given, dict):
        return "; only kind: fine-tune and kind: phases take a rate for each group"
    is_number = isinstance(given, str) and isinstance(parse_scalar(given), int | float)
    return "; remove the quotes" if is_number and "number" in message else ""


def _words(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]


def _unknown_key(path: KeyPath, value: Mapping[str, Any]) -> tuple[str, str | None]:
    key = str(path[-1])
    section, kinds = sections_at(path[:-1], value)
    fields = list(section.model_fields)
    if of_kinds := [str(_kind(each)) for each in kinds if key in each.model_fields]:
        return f"unknown key with kind: {_kind(section)}; it belongs to kind: {' or '.join(of_kinds)}", None
    if near := _nearest(key, fields):
        return "unknown key", near
    homes = keys_by_home().get(key)
    if homes:
        return f"unknown key here; it belongs at {' or '.join(homes)}", None
    return f"unknown key; valid keys here: {', '.join(fields)}", None


def _nearest(given: object, valid: Sequence[str]) -> str | None:
    words = [part for word in valid for part in _words(word)]
    if _MEANT.get(str(given).lower()) in words:
        return _MEANT[str(given).lower()]
    return next(iter(difflib.get_close_matches(str(given), words, n=1, cutoff=0.6)), None)


def sections_of(annotation: Any) -> list[type[Section]]:
    """Return the sections that an annotation allows, looking through unions, tuples and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def sections_at(path: KeyPath, value: Mapping[str, Any]) -> tuple[type[Section], list[type[Section]]]:
    """Return the section at a path of the data, and all that may be there: the data's `kind` names one of several."""
    section: type[Section] = Recipe
    candidates = [section]
    here: Any = value
    for part in path:
        here = here[part]
        if isinstance(part, int):
            continue
        candidates = sections_of(section.model_fields[part].annotation)
        kind = here.get("kind") if isinstance(here, dict) else None
        section = next((each for each in candidates if _kind(each) == kind), candidates[0])
    return section, candidates


@cache
def keys_by_home() -> dict[str, list[str]]:
    """Return for every key of the recipe the dotted paths at which it is valid."""
    homes: dict[str, list[str]] = {}
    for home, key in _walk(Recipe, ""):
        place = f"{home}{key}"
        if place not in homes.setdefault(key, []):
            homes[key].append(place)
    return homes


def _walk(section: type[Section], home: str) -> Iterable[tuple[str, str]]:
    for key, field in section.model_fields.items():
        yield home, key
        for inner in sections_of(field.annotation):
            yield from _walk(inner, f"{home}{key}.")


def _kind(section: type[Section]) -> str | None:
    field = section.model_fields.get("kind")
    return get_args(field.annotation)[0] if field else None
