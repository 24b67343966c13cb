"""Owns `ftcli compare`: reads runs, compares each with the first, and returns what was found."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.errors import ComparisonError, UsageError
from ftcli.evaluation.compare.evidence import Evidence, PairEvidence
from ftcli.evaluation.compare.pair import compare_paired
from ftcli.evaluation.compare.pairing import Paired, match_by_content, pair_by_content
from ftcli.evaluation.compare.replicates import group_by_seed, group_evidence
from ftcli.evaluation.compare.result import (
    Findings,
    Pending,
    RunPair,
    SeedGroup,
    by_group,
    contrasts_of,
    environment_changes,
    recipe_changes,
    seed_group,
)
from ftcli.evaluation.gates import Rules, judge
from ftcli.evaluation.predictions import Predictions
from ftcli.report.format import pending_text
from ftcli.runs.create import put_back
from ftcli.runs.directory import RunDirectory, open_run
from ftcli.runs.predictions_file import read_predictions
from ftcli.runs.seeds_directory import RunsAt, runs_at


@dataclass(frozen=True, eq=False)
class _Run:
    """What is read of a run before anything is computed."""

    name: str
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    training_images: str | None
    epochs: int | None
    predictions: Predictions


def compare_runs(runs: Sequence[Path], rules: Rules | None = None) -> Findings:
    """Compare each run's validation predictions and recipe with those of the first.

    A directory of several seeds stands for the run of each.

    Raises UsageError for fewer than two runs, RunDirectoryError for one that is missing or damaged, and
    ComparisonError for runs whose classes, images or labels do not match, and for rules about unfinished runs.
    """
    for path in runs:
        put_back(path)
    found = [runs_at(path) for path in runs]
    paths = [run for each in found for run in each.runs]
    if len(paths) < 2:
        raise _too_few(found)
    # Everything is read before anything is computed, so that a missing run is reported at once.
    opened = [open_run(path) for path in paths]
    read = [_read(run) for run in opened]
    rules = rules or Rules()
    pending = pending_at(found)
    if rules.rules and pending:
        raise _too_early(pending)
    paired = [
        pair_by_content(read[0].predictions, other.predictions, names=(read[0].name, other.name)) for other in read[1:]
    ]
    directories = {tuple(map(str, each.runs)): str(each.path) for each in found if len(each.runs) > 1}
    groups = tuple(_seed_group([read[member] for member in group], directories) for group in _groups(read, found))
    evidence = _evidence(read, paired, groups)
    gates = judge(rules, evidence)
    pairs = tuple(_pair(read[0], other, images) for other, images in zip(read[1:], paired, strict=True))
    names = tuple(run.name for run in read)
    return Findings(names, pairs, groups, contrasts_of(evidence, rules.metrics), gates, pending)


def _read(run: RunDirectory) -> _Run:
    return _Run(
        name=str(run.path),
        recipe=run.recipe_values(),
        environment=run.facts(run.environment),
        training_images=run.training_images(),
        epochs=run.planned_epochs(),
        predictions=read_predictions(run.predictions("val")),
    )


def pending_at(found: Sequence[RunsAt]) -> tuple[Pending, ...]:
    """Return what is still to be trained of the runs that paths stand for, each path once."""
    pending = [
        Pending(
            str(each.path),
            unfinished=tuple(str(run) for run in each.runs if not RunDirectory(run).summary.is_file()),
            awaited=tuple(map(str, each.awaited)),
        )
        for each in found
    ]
    return tuple(dict.fromkeys(each for each in pending if each.unfinished or each.awaited))


def _too_few(found: Sequence[RunsAt]) -> UsageError:
    hints = [pending_text(each) for each in pending_at(found)] or [
        "Give the baseline first: `ftcli compare RUN_A RUN_B`."
    ]
    return UsageError("compare needs at least two runs", hint="\n".join(hints))


def _too_early(pending: Sequence[Pending]) -> ComparisonError:
    """Return the error for gates that would judge what is still to change."""
    runs = [run for each in pending for run in (*each.unfinished, *each.awaited)]
    has, it = ("has", "it") if len(runs) == 1 else ("have", "them")
    commands = [f"  ftcli train --resume {shlex.quote(each.resume)}" for each in pending]
    return ComparisonError(
        f"{', '.join(runs)} {has} not finished, and gates judge finished runs only",
        hint="\n".join([f"Finish {it} first:", *commands]),
    )


def _pair(a: _Run, b: _Run, images: Paired) -> RunPair:
    hashes = a.training_images, b.training_images
    return RunPair(
        compare_paired(images, names=(a.name, b.name)),
        recipe_changes(a.recipe, b.recipe),
        environment_changes(a.environment, b.environment),
        chose_epoch=(a.epochs != 1, b.epochs != 1),
        same_training_images=None if None in hashes else hashes[0] == hashes[1],
    )


def _groups(runs: Sequence[_Run], found: Sequence[RunsAt]) -> tuple[tuple[int, ...], ...]:
    homes = [number for number, each in enumerate(found) for _ in each.runs]
    return group_by_seed([run.recipe for run in runs], [run.training_images for run in runs], homes)


def _seed_group(runs: Sequence[_Run], directories: Mapping[tuple[str, ...], str]) -> SeedGroup:
    names = tuple(run.name for run in runs)
    seeds, predictions = [run.recipe.get("seed") for run in runs], [run.predictions for run in runs]
    return seed_group(names, seeds, predictions, directory=directories.get(names))


def _evidence(runs: Sequence[_Run], paired: Sequence[Paired], groups: Sequence[SeedGroup]) -> tuple[Evidence, ...]:
    """Return what gates and contrasts speak of: groups where seeds are repeated and recipes differ, else the runs."""
    if not by_group(len(runs), len(groups)):
        return tuple(
            PairEvidence((runs[0].name, run.name), images) for run, images in zip(runs[1:], paired, strict=True)
        )
    names = [run.name for run in runs]
    matched = dict(zip(names, match_by_content([run.predictions for run in runs], names=names), strict=True))
    baseline, *others = groups
    of_baseline = [matched[name] for name in baseline.runs]
    return tuple(
        group_evidence((baseline.name, group.name), of_baseline, [matched[name] for name in group.runs])
        for group in others
    )
