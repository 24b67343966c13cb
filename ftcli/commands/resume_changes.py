"""What may change in a run that has begun: epochs and patience may be raised, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ftcli.errors import RunDirectoryError, UsageError
from ftcli.evaluation.compare.result import change_text, recipe_changes
from ftcli.plan import Plan
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import recipe_from
from ftcli.records import EpochRecord
from ftcli.runs.past import Past
from ftcli.strategies import make_plan

Changes = Mapping[str, Mapping[str, Any]]
"""What a recipe was and has become, by dotted key: {"a", "b"}."""


def raised_keys(recipe: Recipe, raised: Recipe) -> Changes:
    """Return how `raised` differs. Raises UsageError for anything but higher epochs and patience."""
    changes = _difference(recipe, raised)
    for key, change in changes.items():
        before, now = change["a"], change["b"]
        if not _may_be_raised(key):
            raise UsageError(
                f"cannot change in a run that has begun; it is {json.dumps(before)}",
                where=key,
                hint="Only epochs and patience can be increased. Start a new run for anything else.",
            )
        if before is None or (now is not None and now < before):
            current = "never stop early" if before is None else before
            raise UsageError(
                f"can only be increased (currently: {current})", where=key, hint="Start a new run to lower it."
            )
    return changes


def foreign_keys(trained: Recipe, recipe: Recipe) -> list[str]:
    """Return the keys that differ between two recipes and cannot be raised."""
    return [key for key in _difference(trained, recipe) if not _may_be_raised(key)]


def since_last_epoch(past: Past, raised: Recipe) -> Changes:
    """Return how a recipe differs from that of the last epoch.

    A kill may have come between writing the raised recipe and training with it; the next resume then records it.
    """
    if past.checkpoint is None:
        return {}
    return _difference(recipe_from(past.checkpoint.info.recipe, source=str(past.checkpoint.path)), raised)


def check_history(plan: Plan, recipe: Recipe, records: Sequence[EpochRecord]) -> None:
    """Raise UsageError if the raised `plan` changes a phase that is over because a later one has begun."""
    before = make_plan(
        recipe.strategy,
        plan.groups,
        epochs=recipe.total_epochs,
        patience=recipe.patience,
        default_lr=recipe.default_lr,
    )
    begun = records[-1].phase_index if records else 0
    if begun >= len(plan.phases):
        raise RunDirectoryError(
            f"epoch {len(records)} is of phase {begun + 1}, but the recipe makes {len(plan.phases)}",
            hint="The files of the run do not belong together.",
        )
    for old, new in zip(before.phases[:begun], plan.phases[:begun], strict=True):
        if (old.epochs, old.lr) != (new.epochs, new.lr):
            raise UsageError(
                f"phase {old.name!r} ended after {old.epochs} epochs; it cannot have {new.epochs}",
                where="epochs",
                hint="Raise the epochs of the current phase or of a later one.",
            )


def raised_notice(changes: Changes, *, after: int) -> str:
    """Return the warning that an extended run may differ from one with this recipe from the start."""
    raised = ", ".join(change_text(key, change) for key, change in changes.items())
    return (
        f"raised after epoch {after}: {raised}. The following epochs use the rates of the new recipe, "
        "so the result may differ from a run that had it from the start"
    )


def _difference(a: Recipe, b: Recipe) -> Changes:
    return recipe_changes(*(_with_phases_by_number(recipe.model_dump(mode="json")) for recipe in (a, b)))


def _with_phases_by_number(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with a list of phases as a mapping from their numbers."""
    strategy = values["strategy"]
    phases = strategy.get("phases")
    numbered = {} if phases is None else {"phases": {str(number): phase for number, phase in enumerate(phases)}}
    return {**values, "strategy": {**strategy, **numbered}}


def _may_be_raised(key: str) -> bool:
    return key.rpartition(".")[2] in {"epochs", "patience"}
