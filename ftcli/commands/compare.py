"""`ftcli compare`: read the runs, compare each with the first, and return what was found."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.data.dataset import VAL
from ftcli.errors import ComparisonError, UsageError
from ftcli.evaluation.compare.evidence import Evidence, PairEvidence, contrasts_of
from ftcli.evaluation.compare.pair import compare_paired
from ftcli.evaluation.compare.pairing import Paired, match_by_content, pair_by_content
from ftcli.evaluation.compare.replicates import (
    Replicates,
    compares_means,
    find_replicates,
    replicates_evidence,
    spread_of,
)
from ftcli.evaluation.compare.result import Findings, Pending, RunPair, environment_changes, recipe_changes
from ftcli.evaluation.gates import Rules, judge
from ftcli.evaluation.predictions import Predictions
from ftcli.report.format import pending_text
from ftcli.runs.create import put_back
from ftcli.runs.directory import RunDirectory, open_run
from ftcli.runs.export_directory import is_export
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

    A directory of several seeds is read as the run of each. An exported model is scored on the val images of its run.

    Raises UsageError for fewer than two runs, RunDirectoryError for one that is missing or damaged, and
    ComparisonError for runs whose classes, images or labels do not match, and for rules about unfinished runs.
    """
    for path in runs:
        put_back(path)
    given = [runs_at(path) for path in runs]
    read = _read_all(given)
    rules = rules or Rules()
    pending = pending_at(given)
    if rules.rules and pending:
        raise _too_early(pending)
    baseline, *others = read
    paired = [
        pair_by_content(baseline.predictions, other.predictions, names=(baseline.name, other.name)) for other in others
    ]
    replicates = _replicates(read, given)
    evidence = _evidence(read, paired, replicates)
    gates = judge(rules, evidence)
    return Findings(
        runs=tuple(run.name for run in read),
        pairs=tuple(_pair(baseline, other, images) for other, images in zip(others, paired, strict=True)),
        replicates=replicates,
        contrasts=contrasts_of(evidence, rules.metrics),
        gates=gates,
        pending=pending,
    )


def pending_at(given: Sequence[RunsAt]) -> tuple[Pending, ...]:
    """Return what is still to be trained of the runs at these paths, each path once."""
    pending: dict[Pending, None] = {}
    for each in given:
        runs = (run for run in each.runs if not is_export(run))
        unfinished = tuple(str(run) for run in runs if not RunDirectory(run).summary.is_file())
        if unfinished or each.awaited:
            pending[Pending(str(each.path), unfinished, tuple(map(str, each.awaited)))] = None
    return tuple(pending)


def _read_all(given: Sequence[RunsAt]) -> list[_Run]:
    """Read every run before anything is computed, so that a missing one is reported at once."""
    opened = [run if is_export(run) else open_run(run) for each in given for run in each.runs]
    if len(opened) < 2:
        # The other seeds of a run are the runs to compare it with.
        awaited = [pending_text(each) for each in pending_at(given) if each.awaited]
        hint = "\n".join(awaited) or "Give the baseline first: `ftcli compare RUN_A RUN_B`."
        raise UsageError("compare needs at least two runs", hint=hint)
    return [_read(run) for run in opened]


def _read(run: RunDirectory | Path) -> _Run:
    """Read a run, or score the val images of the run that an exported model came from."""
    if isinstance(run, Path):
        return _read_export(run)
    return _Run(
        name=str(run.path),
        recipe=run.recipe_values(),
        environment=run.facts(run.environment),
        training_images=run.training_images(),
        epochs=run.planned_epochs(),
        predictions=read_predictions(run.predictions(VAL)),
    )


def _read_export(path: Path) -> _Run:
    from ftcli.commands.eval import score_images, split_images
    from ftcli.commands.target import open_target

    target = open_target(path)
    home, is_there = target.home, target.home.has_its_marks()
    return _Run(
        name=str(path),
        recipe={**target.recipe_values, "export": target.form},  # so that it is not taken for another seed of its run
        environment=home.facts(home.environment) if is_there else {},
        training_images=home.training_images() if is_there else None,
        epochs=home.planned_epochs() if is_there else None,
        predictions=score_images(target, split_images(target, VAL)),
    )


def _too_early(pending: Sequence[Pending]) -> ComparisonError:
    """Return the error for gates on runs whose figures may still change."""
    runs = [run for each in pending for run in (*each.unfinished, *each.awaited)]
    has, it = ("has", "it") if len(runs) == 1 else ("have", "them")
    commands = [f"  ftcli resume {shlex.quote(each.resume)}" for each in pending]
    return ComparisonError(
        f"{', '.join(runs)} {has} not finished; gates need finished runs",
        hint="\n".join([f"Finish {it} first:", *commands]),
    )


def _pair(a: _Run, b: _Run, paired: Paired) -> RunPair:
    hashes = a.training_images, b.training_images
    return RunPair(
        compare_paired(paired, names=(a.name, b.name)),
        recipe_changes(a.recipe, b.recipe),
        environment_changes(a.environment, b.environment),
        chose_epoch=(a.epochs != 1, b.epochs != 1),
        same_training_images=None if None in hashes else hashes[0] == hashes[1],
    )


def _replicates(runs: Sequence[_Run], given: Sequence[RunsAt]) -> tuple[Replicates, ...]:
    """Return the runs by recipe, with the spread over the seeds of each."""
    homes = [number for number, each in enumerate(given) for _ in each.runs]
    directories = {tuple(map(str, each.runs)): str(each.path) for each in given if len(each.runs) > 1}
    found = []
    for positions in find_replicates([run.recipe for run in runs], [run.training_images for run in runs], homes):
        members = [runs[position] for position in positions]
        names = tuple(run.name for run in members)
        seeds = tuple(run.recipe.get("seed") for run in members)
        spread = spread_of([run.predictions for run in members])
        found.append(Replicates(names, seeds, spread, directories.get(names)))
    return tuple(found)


def _evidence(runs: Sequence[_Run], paired: Sequence[Paired], replicates: Sequence[Replicates]) -> tuple[Evidence, ...]:
    """Return what gates and contrasts are about: means over seeds where these are compared, else single runs."""
    names = [run.name for run in runs]
    if not compares_means(replicates):
        return tuple(PairEvidence((names[0], name), images) for name, images in zip(names[1:], paired, strict=True))
    matched = dict(zip(names, match_by_content([run.predictions for run in runs], names=names), strict=True))
    predictions = [[matched[name] for name in each.runs] for each in replicates]
    return tuple(
        replicates_evidence((replicates[0].name, each.name), predictions[0], of_each)
        for each, of_each in zip(replicates[1:], predictions[1:], strict=True)
    )
