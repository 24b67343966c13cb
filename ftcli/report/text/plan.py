"""What `ftcli plan` shows: the phases, and a table of groups by phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftcli.phrases import count, duration, size
from ftcli.plan import Phase, Plan
from ftcli.report.format import rate_text
from ftcli.report.sections import Lines, Prose, Section, Table, numbers, prose, texts

if TYPE_CHECKING:
    from ftcli.engine.forecast import Forecast

_BATCHNORM = " bn"
_LEGEND = "bn: the group has BatchNorm, whose statistics follow the batches in that phase; frozen, they do not change."


def plan_sections(
    plan: Plan,
    parameters: Mapping[str, int],
    batchnorm: Mapping[str, bool],
    outlooks: Sequence[Forecast],
    download: str | None = None,
) -> list[Section]:
    """Return the phases, then a table of groups by phases: rate or frozen, BatchNorm's mode, parameters.

    `download` names the weights that training would download.
    """
    strategy = f"strategy {plan.strategy}: {count(len(plan.phases), 'phase')}, {count(plan.epochs, 'epoch')}"
    lines = []
    for number, (phase, outlook) in enumerate(zip(plan.phases, outlooks, strict=True), start=1):
        lines += [f"  {number}. {_phase(phase, parameters)}", f"     {_outlook(outlook)}"]
    table = _table(plan, parameters, batchnorm)
    legend = _LEGEND if any(str(cell).endswith(_BATCHNORM) for row in table.rows for cell in row[2:]) else ""
    missing = "" if download is None else f"Not on this machine, so training downloads them first: {download}."
    total = _about(sum(outlook.seconds for outlook in outlooks))
    return [
        Section("", (Prose(f"{strategy}, {sum(parameters.values()):,} parameters"), Lines(tuple(lines)))),
        Section("", (table, *prose(legend))),
        Section("", prose(f"In all {total}, measured on a few images on this machine, with an empty cache.", missing)),
    ]


def _phase(phase: Phase, parameters: Mapping[str, int]) -> str:
    trained = sum(parameters[group] for group in phase.trainable)
    patience = "" if phase.patience is None else f", with a patience of {count(phase.patience, 'epoch')}"
    solver = "" if phase.solver == "sgd" else ", fitted to convergence"
    return f"{phase.name}: {count(phase.epochs, 'epoch')}, {trained:,} trainable{solver}{patience}"


def _outlook(outlook: Forecast) -> str:
    if outlook.cached:
        computed = f"frozen part computed once, for {outlook.views:,} views of images ({size(outlook.bytes)})"
        what = computed if outlook.views else "frozen part known from a phase before"
    elif outlook.reason:
        what = f"frozen part computed in every epoch: {outlook.reason}"
    else:
        what = "nothing frozen, nothing to cache"
    return f"{what}; {_about(outlook.seconds)}"


def _about(seconds: float) -> str:
    return f"about {duration(seconds)}"


def _table(plan: Plan, parameters: Mapping[str, int], batchnorm: Mapping[str, bool]) -> Table:
    def cell(phase: Phase, group: str) -> str:
        learns = phase.lr[group] is not None and phase.solver == "sgd"
        return rate_text(phase.lr[group], phase) + (_BATCHNORM if batchnorm[group] and learns else "")

    phases = [f"phase {number}" for number in range(1, len(plan.phases) + 1)]
    rows = [(group, f"{parameters[group]:,}", *(cell(phase, group) for phase in plan.phases)) for group in plan.groups]
    return Table((*texts("group"), *numbers("parameters", *phases)), rows)
