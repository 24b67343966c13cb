"""Owns the plan as plain text: a table of groups by phases."""

from __future__ import annotations

from collections.abc import Mapping

from ftcli.plan import Phase, Plan
from ftcli.report.text import count, printable, prose, table

_LEGEND = "bn: the group has BatchNorm, whose statistics follow the batches in that phase; frozen, they stand still."


def plan_text(plan: Plan, parameters: Mapping[str, int], batchnorm: Mapping[str, bool], *, width: int = 80) -> str:
    """Return the phases, then a table of groups by phases: rate or frozen, BatchNorm's mode, parameters."""
    total = sum(parameters.values())
    phases = count(len(plan.phases), "phase")
    parts = [
        f"strategy {plan.strategy}: {phases}, {count(plan.epochs, 'epoch')}, {total:,} parameters",
        "\n".join(_phase_line(number, phase, parameters) for number, phase in enumerate(plan.phases, start=1)),
        _table(plan, parameters, batchnorm, width),
    ]
    if any(batchnorm.values()):
        parts.append(prose(_LEGEND, width))
    return "\n\n".join(parts)


def _phase_line(number: int, phase: Phase, parameters: Mapping[str, int]) -> str:
    trained = sum(parameters[group] for group in phase.trainable)
    patience = "" if phase.patience is None else f", ends after {count(phase.patience, 'epoch')} without a better one"
    return f"  {number}. {printable(phase.name)}: {count(phase.epochs, 'epoch')}, {trained:,} trainable{patience}"


def _table(plan: Plan, parameters: Mapping[str, int], batchnorm: Mapping[str, bool], width: int) -> str:
    header = ["group", "parameters", *(f"phase {number}" for number in range(1, len(plan.phases) + 1))]
    rows = [
        [
            printable(group),
            f"{parameters[group]:,}",
            *(_cell(phase.lr[group], bn=batchnorm[group]) for phase in plan.phases),
        ]
        for group in plan.groups
    ]
    return table(header, rows, width)


def _cell(rate: float | None, *, bn: bool) -> str:
    if rate is None:
        return "frozen"
    return f"{rate:.3g} bn" if bn else f"{rate:.3g}"
