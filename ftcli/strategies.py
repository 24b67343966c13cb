"""Strategies: pure functions from a strategy and the group names of a network to a plan."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import singledispatch

from ftcli.errors import PlanError
from ftcli.plan import Phase, Plan
from ftcli.recipe.keys import (
    DEFAULT_LR_DECAY,
    DEFAULT_UNFREEZE,
    FeatureExtract,
    FineTune,
    FromScratch,
    Gradual,
    Phases,
    Strategy,
)

HEAD = "head"

LBFGS_RATE = 1.0
"""The rate in the plan of a head that L-BFGS fits: the first step that its line search tries."""


def make_plan(
    strategy: Strategy, groups: Sequence[str], *, epochs: int | None, patience: int | None, default_lr: float
) -> Plan:
    """Return the plan of a strategy over `groups`, ordered from the input to the head.

    `epochs` is the total, None if the phases have their own; `default_lr` is the head's rate if the strategy has none.
    Raises PlanError, which lists the groups, if strategy, groups and epochs do not fit together.
    """
    assert groups[-1] == HEAD, "the last group is the head"
    phases = _phases(strategy, tuple(groups), epochs or 0, patience, default_lr)
    return Plan(strategy.kind, tuple(groups), tuple(phases))


def rates_of(lr: Mapping[str, float], groups: Sequence[str], *, key: str) -> dict[str, float | None]:
    """Return a rate, or None for frozen, for every group, from names, modules and globs.

    A group's own name takes precedence over a module that holds it, and a module over a glob. For the groups
    features.0, features.1 and head, {"*": 0.1, "features": 0.2, "features.1": 0.3} gives 0.2, 0.3 and 0.1.
    `key` is the recipe key for errors.
    Raises PlanError for a name that matches no group and for a group that two globs or two modules match.
    """
    _refuse_unmatched(lr, groups, key)
    return {group: _rate_of(group, lr, key) for group in groups}


def check_warmup(plan: Plan, warmup_epochs: int) -> None:
    """Raise PlanError if the warm-up would take a whole phase."""
    for phase in plan.phases:
        if 0 < phase.epochs <= warmup_epochs:
            message = f"{warmup_epochs} warm-up epochs do not fit into phase {phase.name!r}, which has {phase.epochs}"
            hint = "Lower schedule.warmup_epochs or give the phase more epochs."
            raise PlanError(message, where="schedule.warmup_epochs", hint=hint)


@singledispatch
def _phases(
    strategy: Strategy, groups: tuple[str, ...], epochs: int, patience: int | None, default_lr: float
) -> list[Phase]:
    raise NotImplementedError(strategy)


@_phases.register
def _(
    strategy: FeatureExtract, groups: tuple[str, ...], epochs: int, patience: int | None, default_lr: float
) -> list[Phase]:
    if strategy.solver == "lbfgs":
        return [Phase("head", 1, _unfrozen(groups, 0, LBFGS_RATE, 1.0), solver="lbfgs")]
    return [Phase("head", epochs, _unfrozen(groups, 0, strategy.lr or default_lr, 1.0), patience)]


@_phases.register
def _(
    strategy: FromScratch, groups: tuple[str, ...], epochs: int, patience: int | None, default_lr: float
) -> list[Phase]:
    return [Phase("scratch", epochs, dict.fromkeys(groups, strategy.lr or default_lr), patience)]


@_phases.register
def _(strategy: FineTune, groups: tuple[str, ...], epochs: int, patience: int | None, default_lr: float) -> list[Phase]:
    if isinstance(strategy.lr, Mapping):
        lr = rates_of(strategy.lr, groups, key="strategy.lr")
    else:
        unfreeze = DEFAULT_UNFREEZE if strategy.unfreeze is None else strategy.unfreeze
        decay = DEFAULT_LR_DECAY if strategy.lr_decay is None else strategy.lr_decay
        lr = _unfrozen(groups, _count(unfreeze, groups), strategy.lr or default_lr, decay)
    if strategy.head_epochs == 0:
        return [Phase("fine-tune", epochs, lr, patience)]
    if lr[HEAD] is None:
        message = f"the head is trained for {strategy.head_epochs} epochs first, but strategy.lr gives it no rate"
        raise PlanError(message, where="strategy.head_epochs", hint=f"Add {HEAD} to strategy.lr.")
    if strategy.head_epochs >= epochs:
        message = f"{strategy.head_epochs} head epochs leave none of the {epochs} epochs for fine-tuning"
        raise PlanError(message, where="strategy.head_epochs", hint=f"Set epochs to more than {strategy.head_epochs}.")
    head_only = {group: rate if group == HEAD else None for group, rate in lr.items()}
    return [
        Phase("head", strategy.head_epochs, head_only, patience),
        Phase("fine-tune", epochs - strategy.head_epochs, lr, patience),
    ]


@_phases.register
def _(strategy: Gradual, groups: tuple[str, ...], epochs: int, patience: int | None, default_lr: float) -> list[Phase]:
    unfreeze = _count(strategy.unfreeze, groups)
    step = strategy.groups_per_phase
    unfrozen = [*range(0, unfreeze, step), unfreeze]
    needed = strategy.epochs_per_phase * (len(unfrozen) - 1) + 1
    if epochs < needed:
        raise PlanError(
            f"{len(unfrozen)} phases, all but the last of {strategy.epochs_per_phase} epochs, need at least {needed} "
            f"epochs, not {epochs}",
            where="epochs",
            hint=f"Set epochs to {needed} or more, or lower strategy.unfreeze or strategy.epochs_per_phase.",
        )
    lengths = [strategy.epochs_per_phase] * (len(unfrozen) - 1)
    lengths.append(epochs - sum(lengths))
    names = [f"to {groups[-1 - count]}" if count else HEAD for count in unfrozen]
    return [
        Phase(name, length, _unfrozen(groups, count, strategy.lr or default_lr, strategy.lr_decay), patience)
        for name, count, length in zip(names, unfrozen, lengths, strict=True)
    ]


@_phases.register
def _(strategy: Phases, groups: tuple[str, ...], _epochs: int, patience: int | None, _default_lr: float) -> list[Phase]:
    return [
        Phase(
            f"phase {number}",
            section.epochs,
            rates_of(section.lr, groups, key=f"strategy.phases.{number - 1}.lr"),
            section.patience or patience,
        )
        for number, section in enumerate(strategy.phases, start=1)
    ]


def _unfrozen(groups: tuple[str, ...], count: int, lr: float, decay: float) -> dict[str, float | None]:
    """Give the head `lr` and each of the `count` groups before it a rate smaller by `decay` than the next."""
    distances = {group: len(groups) - 1 - position for position, group in enumerate(groups)}
    rates = {
        group: float(f"{lr * decay**distance:.12g}") if distance <= count else None
        for group, distance in distances.items()
    }
    if 0 in rates.values():
        raise PlanError(
            f"the learning rate underflows to zero at {', '.join(group for group, rate in rates.items() if rate == 0)}",
            where="strategy.lr",
            hint="Raise strategy.lr or strategy.lr_decay, or lower strategy.unfreeze.",
        )
    return rates


def _count(unfreeze: int | str, groups: tuple[str, ...]) -> int:
    body = len(groups) - 1
    if isinstance(unfreeze, str):
        return body
    if unfreeze > body:
        message = f"the network has {body} groups before the head, not {unfreeze}: {', '.join(groups)}"
        raise PlanError(message, where="strategy.unfreeze", hint=f"Set strategy.unfreeze to at most {body}, or to all.")
    return unfreeze


def _refuse_unmatched(lr: Mapping[str, float], groups: Sequence[str], key: str) -> None:
    for pattern in lr:
        if not any(_precision(pattern, group) for group in groups):
            near = difflib.get_close_matches(pattern, groups, n=1)
            message = f"matches no group of the network: {', '.join(groups)}"
            raise PlanError(message, where=f"{key}.{pattern}", hint=f"Did you mean {near[0]!r}?" if near else None)


def _rate_of(group: str, lr: Mapping[str, float], key: str) -> float | None:
    precision = max((_precision(pattern, group) for pattern in lr), default=0)
    if precision == 0:
        return None
    best = [pattern for pattern in lr if _precision(pattern, group) == precision]
    if len(best) > 1:
        message = f"group {group!r} is matched by {' and by '.join(map(repr, best))}"
        raise PlanError(message, where=key, hint=f"Give {group!r} a rate of its own, or narrow one of the patterns.")
    return lr[best[0]]


def _precision(pattern: str, group: str) -> int:
    """Return how exactly a key of `lr` matches a group: 3 by name, 2 as a module around it, 1 as a glob, 0 not."""
    if pattern == group:
        return 3
    # Not the modules of a body that are called head.conv or the like: `head` is the new layer alone.
    if HEAD not in (pattern, group) and group.startswith(f"{pattern}."):
        return 2
    return 1 if any(sign in pattern for sign in "*?[") and fnmatchcase(group, pattern) else 0
