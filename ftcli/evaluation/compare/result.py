"""Owns what a comparison of two or more runs found: pairs, groups of seeds, contrasts with the baseline, gates.

Owns what differs between two runs besides their predictions: recipes and environments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ftcli.evaluation.compare.evidence import Evidence, two_sided
from ftcli.evaluation.compare.pair import Comparison
from ftcli.evaluation.compare.replicates import Spread, seed_spread
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.significance import holm
from ftcli.records import SCHEMA, Gate

Changes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class RunPair:
    """The baseline (a) against another run (b): what their predictions, recipes and environments differ in.

    `chose_epoch` says which of them had epochs to choose the best from; `same_training_images` is None where a run
    does not tell.
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
class SeedGroup:
    """Runs whose recipes differ only in their seeds, and the spread of every metric over them.

    `directory` is the one that stands for exactly these runs, if one does.
    """

    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    metrics: Mapping[str, Spread]
    directory: str | None = None

    @property
    def name(self) -> str:
        """The directory of the runs, the only run, or the first of several with their number."""
        if self.directory is not None:
            return self.directory
        more = len(self.runs) - 1
        return f"{self.runs[0]} and {more} more seed{'s' * (more > 1)}" if more else self.runs[0]

    def to_json(self) -> dict[str, Any]:
        """Return the group as plain data."""
        return {
            "name": self.name,
            "runs": list(self.runs),
            "seeds": list(self.seeds),
            "metrics": {name: asdict(spread) for name, spread in self.metrics.items()},
        }


def seed_group(
    names: Sequence[str],
    seeds: Sequence[int | None],
    predictions: Sequence[Predictions],
    *,
    directory: str | None = None,
) -> SeedGroup:
    """Return runs of one recipe as one result."""
    return SeedGroup(tuple(names), tuple(seeds), seed_spread(predictions), directory)


def by_group(runs: int, groups: int) -> bool:
    """Tell whether groups are compared, as where seeds are repeated and recipes differ, or the runs."""
    return 1 < groups < runs


@dataclass(frozen=True)
class Contrast:
    """One metric of a run or group (b) against that of the baseline (a), with its 95 % interval.

    `p_value` is two-sided, `adjusted` the same adjusted for the number of contrasts (Holm).
    """

    a_name: str
    b_name: str
    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class Pending:
    """Training that is not over: what it goes on with, which is a run or the directory of several seeds.

    `unfinished` names the runs whose figures may still change, `awaited` those of seeds that have none yet.
    """

    resume: str
    unfinished: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What two or more runs, the first of which is the baseline, show against each other.

    There is a pair for every run but the first. Contrasts and gates speak of the runs, or of the groups of seeds
    where recipes differ in more than the seed and some have several. `pending` is what is still to be trained.
    """

    runs: tuple[str, ...]
    pairs: tuple[RunPair, ...]
    groups: tuple[SeedGroup, ...]
    contrasts: tuple[Contrast, ...]
    gates: tuple[Gate, ...] = ()
    pending: tuple[Pending, ...] = ()

    @property
    def sides(self) -> tuple[SeedGroup, ...]:
        """The groups that contrasts and gates speak of, the baseline first; nothing where they speak of the runs."""
        return self.groups if by_group(len(self.runs), len(self.groups)) else ()

    def to_json(self) -> dict[str, Any]:
        """Return what `ftcli compare --json` prints.

        The top level speaks of the first two runs: a is `runs[0]` and b is `runs[1]`, however many follow.
        With more than two, `comparisons` holds one such object for every run but the first, in their order.
        """
        value = {
            "schema": SCHEMA,
            **self.pairs[0].to_json(),
            "runs": list(self.runs),
            "groups": [group.to_json() for group in self.groups],
            "contrasts": [asdict(contrast) for contrast in self.contrasts],
            "gates": [gate.to_json() for gate in self.gates],
            "unfinished": [run for each in self.pending for run in each.unfinished],
            "awaited": [run for each in self.pending for run in each.awaited],
        }
        if len(self.pairs) > 1:
            value["comparisons"] = [pair.to_json() for pair in self.pairs]
        return value


def contrasts_of(evidence: Sequence[Evidence], metrics: Sequence[str]) -> tuple[Contrast, ...]:
    """Return every metric's contrasts, adjusted for the number of runs or groups."""
    contrasts = []
    for metric in metrics:
        p_values = [two_sided(each, metric) for each in evidence]
        for each, p_value, adjusted in zip(evidence, p_values, holm(p_values), strict=True):
            gap = each.difference(metric)
            contrasts.append(
                Contrast(*each.names, metric, gap.a, gap.b, gap.difference, gap.low, gap.high, p_value, adjusted)
            )
    return tuple(contrasts)


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
