"""Owns what differs between two runs besides their predictions: recipes and environments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PLACE_AND_TIME = frozenset({"started", "argv", "directory", "resumed", "schema", "format"})


def recipe_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what differs between two recipes: dotted key to {"a", "b"}, in the order of the keys.

    Sections are compared key by key, lists whole. A key that is absent counts as null.
    """
    changes: dict[str, dict[str, Any]] = {}
    for key in [*a, *(key for key in b if key not in a)]:
        one, other = a.get(key), b.get(key)
        if _is_section(one) and _is_section(other):
            nested = recipe_changes(one or {}, other or {})
            changes |= {f"{key}.{inner}": change for inner, change in nested.items()}
        elif one != other or isinstance(one, bool) != isinstance(other, bool):
            changes[str(key)] = {"a": one, "b": other}
    return changes


def change_text(key: str, change: Mapping[str, Any]) -> str:
    """Return in words what a key was, and what it has become."""
    return f"{key} from {json.dumps(change.get('a'))} to {json.dumps(change.get('b'))}"


def environment_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what differs between the machines, versions and commits of two runs, as `recipe_changes` does."""
    return recipe_changes(*({key: each[key] for key in each if key not in _PLACE_AND_TIME} for each in (a, b)))


def _is_section(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)
