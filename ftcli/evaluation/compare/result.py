"""The result of comparing two or more runs, and what differs between them besides their predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ftcli.evaluation.compare.evidence import Contrast
from ftcli.evaluation.compare.pair import Comparison
from ftcli.evaluation.compare.replicates import Replicates, compares_means
from ftcli.records import SCHEMA, Gate

Changes = Mapping[str, Mapping[str, Any]]

_PLACE_AND_TIME = frozenset({"started", "argv", "directory", "resumed", "schema", "format"})
"""What an environment holds of one run alone."""


@dataclass(frozen=True)
class RunPair:
    """The baseline (a) against another run (b): how their predictions, recipes and environments differ.

    `chose_epoch` says which of them had epochs to choose the best from; `same_training_images` is None where it is
    unknown for a run.
    """

    comparison: Comparison
    recipe_changes: Changes
    environment_changes: Changes
    chose_epoch: tuple[bool, bool]
    same_training_images: bool | None

    def to_json(self) -> dict[str, Any]:
        """Return the pair as plain data."""
        return {
            "runs": list(self.comparison.names),
            **self.comparison.to_json(),
            "recipe_changes": {key: dict(change) for key, change in self.recipe_changes.items()},
            "environment_changes": {key: dict(change) for key, change in self.environment_changes.items()},
            "same_training_images": self.same_training_images,
        }


@dataclass(frozen=True)
class Pending:
    """Training that is not finished; `resume` is the run, or the directory of several seeds, to resume it with.

    `unfinished` names the runs whose figures may still change, `awaited` those of seeds that have none yet.
    """

    resume: str
    unfinished: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """How two or more runs do against the first of them, the baseline.

    There is a pair for every run but the first. Contrasts and gates are about the runs, or about the means of
    replicates where recipes differ in more than the seed and some have several. `pending` is still to be trained.
    """

    runs: tuple[str, ...]
    pairs: tuple[RunPair, ...]
    replicates: tuple[Replicates, ...]
    contrasts: tuple[Contrast, ...]
    gates: tuple[Gate, ...] = ()
    pending: tuple[Pending, ...] = ()

    @property
    def sides(self) -> tuple[Replicates, ...]:
        """The replicates whose means are compared, the baseline first; nothing where runs are compared."""
        return self.replicates if compares_means(self.replicates) else ()

    def to_json(self) -> dict[str, Any]:
        """Return what `ftcli compare --json` prints.

        The top level is about the first two runs: a is `runs[0]` and b is `runs[1]`, however many follow.
        With more than two, `comparisons` holds one such object for every run but the first, in their order.
        """
        value = {
            "schema": SCHEMA,
            **self.pairs[0].to_json(),
            "runs": list(self.runs),
            "groups": [each.to_json() for each in self.replicates],
            "contrasts": [contrast.to_json() for contrast in self.contrasts],
            "gates": [asdict(gate) for gate in self.gates],
            "unfinished": [run for each in self.pending for run in each.unfinished],
            "awaited": [run for each in self.pending for run in each.awaited],
        }
        if len(self.pairs) > 1:
            value["comparisons"] = [pair.to_json() for pair in self.pairs]
        return value


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
    """Return in words how the value of a key changed."""
    return f"{key} from {json.dumps(change.get('a'))} to {json.dumps(change.get('b'))}"


def environment_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what differs between the machines, versions and commits of two runs, as `recipe_changes` does."""
    return recipe_changes(*({key: each[key] for key in each if key not in _PLACE_AND_TIME} for each in (a, b)))


def _is_section(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)
