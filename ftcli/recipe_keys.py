"""Owns finding one's way in the recipe's sections: which section stands at a path, and where a key belongs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, get_args

from ftcli.recipe.keys import Recipe, Section
from ftcli.recipe.yaml12 import KeyPath


def sections_of(annotation: Any) -> list[type[Section]]:
    """Return the sections that an annotation allows, looking through unions, tuples and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def section_at(path: KeyPath, value: Mapping[str, Any]) -> type[Section]:
    """Return the section that stands at a path of the data, choosing among kinds by the data's own `kind`."""
    section: type[Section] = Recipe
    here: Any = value
    for part in path:
        here = here[part]
        if isinstance(part, int):
            continue
        candidates = sections_of(section.model_fields[part].annotation)
        section = next((s for s in candidates if _kind(s) == _given_kind(here)), candidates[0])
    return section


@cache
def keys_by_home() -> dict[str, list[str]]:
    """Return for every key of the recipe the dotted places where it may stand."""
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


def _given_kind(here: Any) -> str | None:
    return here.get("kind") if isinstance(here, dict) else None
