"""Owns a finished run as plain text."""

from __future__ import annotations

from ftcli.evaluation.metrics import Evaluation
from ftcli.plan import Plan
from ftcli.records import RunSummary
from ftcli.report.tables import metrics_text
from ftcli.report.wording import VAL_CHOSE_THE_EPOCH


def run_text(summary: RunSummary, evaluation: Evaluation, plan: Plan, *, width: int = 80) -> str:
    """Return how a run ended: the best epoch and its figures with intervals."""
    seconds = f"{summary.images} val images, {summary.seconds:.1f} s"
    stopped = f", stopped early of {plan.epochs}" if summary.epochs < plan.epochs else ""
    # A run of one epoch had none to choose.
    notes = [VAL_CHOSE_THE_EPOCH] if summary.epochs > 1 else []
    return "\n".join(
        [
            f"best epoch {summary.best_epoch} of {summary.epochs}{stopped}, by {summary.monitor}; {seconds}",
            metrics_text(evaluation.metrics, width),
            *notes,
        ]
    )
