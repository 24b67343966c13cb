"""Owns what may be raised in a run that has begun, epochs and patience, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ftcli.commands.prepare import Preparation
from ftcli.commands.standing import Point
from ftcli.commands.training_run import Job
from ftcli.errors import RunDirectoryError, UsageError
from ftcli.evaluation.changes import change_text, recipe_changes
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_from
from ftcli.records import EpochRecord
from ftcli.runs.reading import damaged
from ftcli.runs.seeds_directory import SeedsDirectory
from ftcli.strategies import make_plan

Changes = Mapping[str, Mapping[str, Any]]
"""What a recipe was and has become, by dotted key: {"a", "b"}."""


def shared_recipe(directory: SeedsDirectory, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe of several seeds. Raises RunDirectoryError where it is missing, RecipeError for a damaged one."""
    if not directory.recipe.is_file():
        raise damaged(directory.recipe, "is missing")
    return load_recipe(directory.recipe, overrides)


def raised_keys(recipe: Recipe, raised: Recipe) -> Changes:
    """Return in what `raised` differs. Raises UsageError for all but higher epochs and patience."""
    changes = _difference(recipe, raised)
    for key, change in changes.items():
        before, now = change["a"], change["b"]
        if not _may_be_raised(key):
            raise UsageError(
                f"cannot change in a run that has begun; it is {json.dumps(before)}",
                where=key,
                hint="Only epochs and patience may be raised. Train a new run for anything else.",
            )
        if before is None or (now is not None and now < before):
            least = "null, which is never" if before is None else before
            raise UsageError(
                f"may be raised, not lowered; it is {least}", where=key, hint="Train a new run for less of it."
            )
    return changes


def _difference(a: Recipe, b: Recipe) -> Changes:
    return recipe_changes(*(_with_phases_by_number(recipe.model_dump(mode="json")) for recipe in (a, b)))


def _with_phases_by_number(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with a list of phases as a mapping from their numbers."""
    strategy = values["strategy"]
    phases = strategy.get("phases")
    numbered = {} if phases is None else {"phases": {str(number): phase for number, phase in enumerate(phases)}}
    return {**values, "strategy": {**strategy, **numbered}}


def foreign_keys(trained: Recipe, recipe: Recipe) -> list[str]:
    """Return the keys that are others in two recipes and may not be raised."""
    return [key for key in _difference(trained, recipe) if not _may_be_raised(key)]


def _may_be_raised(key: str) -> bool:
    return key.rpartition(".")[2] in {"epochs", "patience"}


def since_last_epoch(point: Point, raised: Recipe) -> Changes:
    """Return in what a recipe differs from that of the last epoch.

    So what was raised is written down by the next resume where a kill kept this one from it.
    """
    if point.checkpoint is None:
        return {}
    return _difference(recipe_from(point.checkpoint.info.recipe, source=str(point.checkpoint.path)), raised)


def check_history(preparation: Preparation, recipe: Recipe, records: Sequence[EpochRecord]) -> None:
    """Raise UsageError when what was raised changes a phase that is over because another one has begun."""
    plan = preparation.plan
    before = make_plan(recipe.strategy, plan.groups, epochs=recipe.total_epochs, patience=recipe.patience)
    begun = records[-1].phase_index if records else 0
    if begun >= len(plan.phases):
        raise RunDirectoryError(
            f"epoch {len(records)} is of phase {begun + 1}, and the recipe makes {len(plan.phases)}",
            hint="The files of the run do not belong together.",
        )
    for old, new in zip(before.phases[:begun], plan.phases[:begun], strict=True):
        if (old.epochs, old.lr) != (new.epochs, new.lr):
            raise UsageError(
                f"phase {old.name!r} is over, after {old.epochs} epochs; it cannot have {new.epochs}",
                where="epochs",
                hint="Raise the epochs of the phase that the run is in, or of a later one.",
            )


def told_of_raise(job: Job, changes: Changes) -> Job:
    """Tell, now and in the run's notices, that a raised one may not be what its recipe makes."""
    if not changes or not job.records:
        return job
    raised = ", ".join(change_text(key, change) for key, change in changes.items())
    sentence = (
        f"raised after epoch {len(job.records)}: {raised}. The rates of the epochs to come are those of the new "
        "recipe, so the result may differ from that of a run that had it from the start"
    )
    job.progress.notice(sentence)
    return replace(job, notices=(*job.notices, sentence))
