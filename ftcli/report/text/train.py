"""Owns a finished run as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.evaluation.metrics import Evaluation
from ftcli.plan import Plan
from ftcli.records import EpochRecord, RunSummary
from ftcli.report.epochs import epochs_text
from ftcli.report.format import prose
from ftcli.report.text.eval import metrics_text
from ftcli.report.wording import VAL_CHOSE_THE_EPOCH, absent_text


def run_text(
    summary: RunSummary,
    evaluation: Evaluation,
    plan: Plan,
    records: Sequence[EpochRecord],
    *,
    marks: str = "",
    width: int = 80,
) -> str:
    """Return how a run ended: its epochs, then the best one's figures with intervals.

    `marks` are what sparklines are drawn with, if any are wanted.
    """
    seconds = f"{summary.images} val images, {summary.seconds:.1f} s"
    stopped = f", stopped early of {plan.epochs}" if summary.epochs < plan.epochs else ""
    lines = [f"best epoch {summary.best_epoch} of {summary.epochs}{stopped}, by {summary.monitor}; {seconds}"]
    if summary.epochs > 1:
        lines += [epochs_text(records, summary.best_epoch, marks=marks, width=width), ""]
    lines.append(metrics_text(evaluation.metrics, width))
    absent = absent_text(evaluation)
    if absent:
        lines.append(prose(absent, width))
    if summary.epochs > 1:  # a run of one epoch had none to choose
        lines.append(VAL_CHOSE_THE_EPOCH)
    return "\n".join(lines)
