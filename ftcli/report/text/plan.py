"""Owns the plan as plain text: a table of groups by phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ftcli.plan import Phase, Plan
from ftcli.report.format import count, printable, prose, table

_LEGEND = "bn: the group has BatchNorm, whose statistics follow the batches in that phase; frozen, they stand still."


class Outlook(Protocol):
    """What is known of a phase beforehand: see `Forecast`."""

    @property
    def cached(self) -> bool:
        """Whether the frozen part is computed once."""

    @property
    def views(self) -> int:
        """For how many views of images, if nothing is in the cache yet."""

    @property
    def bytes(self) -> int:
        """How much of the disk they take."""

    @property
    def seconds(self) -> float:
        """About how long the phase takes."""

    @property
    def reason(self) -> str | None:
        """Why a frozen part is not cached."""


def plan_text(
    plan: Plan,
    parameters: Mapping[str, int],
    batchnorm: Mapping[str, bool],
    outlooks: Sequence[Outlook],
    *,
    width: int = 80,
) -> str:
    """Return the phases, then a table of groups by phases: rate or frozen, BatchNorm's mode, parameters."""
    total = sum(parameters.values())
    phases = count(len(plan.phases), "phase")
    parts = [
        f"strategy {plan.strategy}: {phases}, {count(plan.epochs, 'epoch')}, {total:,} parameters",
        "\n".join(
            f"{_phase_line(number, phase, parameters)}\n     {_outlook_line(outlook)}"
            for number, (phase, outlook) in enumerate(zip(plan.phases, outlooks, strict=True), start=1)
        ),
        _table(plan, parameters, batchnorm, width),
    ]
    if any(batchnorm.values()):
        parts.append(prose(_LEGEND, width))
    total_seconds = sum(outlook.seconds for outlook in outlooks)
    judged = "judged by a few images on this machine and with an empty cache"
    parts.append(prose(f"In all {_duration(total_seconds)}, {judged}.", width))
    return "\n\n".join(parts)


def _phase_line(number: int, phase: Phase, parameters: Mapping[str, int]) -> str:
    trained = sum(parameters[group] for group in phase.trainable)
    patience = "" if phase.patience is None else f", ends after {count(phase.patience, 'epoch')} without a better one"
    solver = "" if phase.solver == "sgd" else ", fitted to convergence"
    return (
        f"  {number}. {printable(phase.name)}: {count(phase.epochs, 'epoch')}, {trained:,} trainable{solver}{patience}"
    )


def _outlook_line(outlook: Outlook) -> str:
    if outlook.cached:
        kept = f"frozen part computed once, for {outlook.views:,} views of images ({_size(outlook.bytes)})"
        what = kept if outlook.views else "frozen part known from a phase before"
    elif outlook.reason:
        what = f"frozen part computed in every epoch: {outlook.reason}"
    else:
        what = "nothing frozen, nothing to cache"
    return f"{what}; {_duration(outlook.seconds)}"


def _size(size: int) -> str:
    mebibytes = size / 2**20
    return f"{mebibytes:.1f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"


def _table(plan: Plan, parameters: Mapping[str, int], batchnorm: Mapping[str, bool], width: int) -> str:
    header = ["group", "parameters", *(f"phase {number}" for number in range(1, len(plan.phases) + 1))]
    rows = [
        [
            printable(group),
            f"{parameters[group]:,}",
            *(_cell(phase, group, bn=batchnorm[group]) for phase in plan.phases),
        ]
        for group in plan.groups
    ]
    return table(header, rows, width)


def _cell(phase: Phase, group: str, *, bn: bool) -> str:
    rate = phase.lr[group]
    if rate is None:
        return "frozen"
    if phase.solver == "lbfgs":
        return "lbfgs"
    return f"{rate:.3g} bn" if bn else f"{rate:.3g}"
