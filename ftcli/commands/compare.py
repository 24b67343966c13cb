"""Owns `ftcli compare`: reads runs, compares each with the first, and returns what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.errors import UsageError
from ftcli.evaluation.changes import recipe_changes
from ftcli.evaluation.comparison import Comparison, compare_predictions
from ftcli.records import SCHEMA
from ftcli.run.directory import open_run
from ftcli.run.predictions_file import read_predictions


@dataclass(frozen=True)
class RunPair:
    """The baseline (a) against another run (b): what their recipes and their predictions differ in."""

    comparison: Comparison
    recipe_changes: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the pair as plain data."""
        changes = {key: dict(change) for key, change in self.recipe_changes.items()}
        return {"runs": list(self.comparison.names), **self.comparison.to_json(), "recipe_changes": changes}


@dataclass(frozen=True)
class CompareResult:
    """Two or more runs, the first of which is the baseline, and one pair for each of the others."""

    runs: tuple[Path, ...]
    pairs: tuple[RunPair, ...]
    gates: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `ftcli compare --json` prints.

        The top level speaks of the first two runs: a is `runs[0]` and b is `runs[1]`, however many follow.
        With more than two, `comparisons` holds one such object for every run but the first, in their order.
        """
        value = {
            "schema": SCHEMA,
            **self.pairs[0].to_json(),
            "runs": [str(run) for run in self.runs],
            "gates": [dict(gate) for gate in self.gates],
        }
        if len(self.pairs) > 1:
            value["comparisons"] = [pair.to_json() for pair in self.pairs]
        return value


def compare_runs(runs: Sequence[Path]) -> CompareResult:
    """Compare each run's validation predictions and recipe with those of the first.

    Raises UsageError for fewer than two runs, RunDirectoryError for one that is missing or damaged, and
    ComparisonError for runs whose classes, images or labels do not match.
    """
    if len(runs) < 2:
        raise UsageError(
            "compare needs at least two runs", hint="Give the baseline first: `ftcli compare RUN_A RUN_B`."
        )
    # Everything is read before anything is computed, so that a missing run is reported at once.
    opened = [open_run(run) for run in runs]
    recipes = [run.recipe_values() for run in opened]
    predictions = [read_predictions(run.predictions("val")) for run in opened]
    pairs = (
        RunPair(
            compare_predictions(predictions[0], predictions[other], names=(str(runs[0]), str(runs[other]))),
            recipe_changes(recipes[0], recipes[other]),
        )
        for other in range(1, len(runs))
    )
    return CompareResult(tuple(runs), tuple(pairs))
