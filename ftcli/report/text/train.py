"""Owns a finished run as plain text.

Owns the epochs of a run as plain text: a table of them or, of many, of some, and a sparkline under each curve.

Owns the runs of several seeds as plain text: a line for each, and the spread of every metric.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from ftcli.evaluation.compare.replicates import Spread
from ftcli.evaluation.evaluate import Evaluation
from ftcli.plan import Plan
from ftcli.records import EpochRecord, RunSummary
from ftcli.report.format import (
    VAL_CHOSE_THE_EPOCH,
    absent_text,
    figure,
    metric_name,
    plain,
    printable,
    prose,
    share,
    signed,
    table,
)
from ftcli.report.text.eval import metrics_text


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


_ALL = 40
"""Up to so many epochs are shown, every one of them; of more, a dozen."""

_ROWS = 12
_SPARKLINE = 12  # marks: as wide as the widest header above them


def epochs_text(records: Sequence[EpochRecord], best_epoch: int, *, marks: str = "", width: int = 80) -> str:
    """Return the epochs, the best one starred, and with `marks` each column's curve over all epochs.

    Of many, a dozen are shown, with a word about the others; the first epoch of every phase is among them as long as
    there is room.
    """
    rows = [_row(records[index], best_epoch) for index in shown_epochs(records, best_epoch)]
    left_out = (
        f"\n  {len(rows)} of {len(records)} epochs; metrics.jsonl has them all" if len(rows) < len(records) else ""
    )
    if marks:
        rows.append(("all", "", *(sparkline(values, marks) for values in _curves(records)), ""))
    return table(("phase", "epoch", "train loss", "val loss", "val accuracy", "seconds"), rows, width) + left_out


def shown_epochs(records: Sequence[EpochRecord], best_epoch: int) -> list[int]:
    """Return the indices of the epochs to show: all, or the last, the best, the first of each phase, then even ones."""
    if len(records) <= _ALL:
        return list(range(len(records)))
    last = len(records) - 1
    starts = [i for i in range(last + 1) if i == 0 or records[i].phase_index != records[i - 1].phase_index]
    even = [round(step * last / (_ROWS - 1)) for step in range(_ROWS)]
    chosen: set[int] = set()
    for index in [last, best_epoch - 1, *starts, *even]:
        if len(chosen) < _ROWS:
            chosen.add(index)
    return sorted(chosen)


def sparkline(values: Sequence[float], marks: str) -> str:
    """Return a curve as one mark per value, or per run of neighbouring values where there are many."""
    cells = min(len(values), _SPARKLINE)
    bounds = [round(cell * len(values) / cells) for cell in range(cells + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in itertools.pairwise(bounds)]
    low, high = min(means), max(means)
    if low == high:
        return marks[0] * cells
    return "".join(marks[round((mean - low) / (high - low) * (len(marks) - 1))] for mean in means)


def _row(record: EpochRecord, best_epoch: int) -> tuple[str, ...]:
    star = "* " if record.epoch == best_epoch else ""
    return (
        printable(record.phase),
        f"{star}{record.epoch}",
        plain(record.train_loss, 4),
        plain(record.val["loss"], 4),
        share(record.val["accuracy"]),
        f"{record.seconds:.1f}",
    )


def _curves(records: Sequence[EpochRecord]) -> tuple[list[float], ...]:
    return (
        [record.train_loss for record in records],
        [record.val["loss"] for record in records],
        [record.val["accuracy"] for record in records],
    )


def seeds_text(
    seeds: Sequence[int], summaries: Sequence[RunSummary | None], spread: Mapping[str, Spread], *, width: int = 80
) -> str:
    """Return a table of the runs, and one of what they have in common."""
    runs = [
        (str(seed), "-" if summary is None else str(summary.best_epoch), *_figures(summary))
        for seed, summary in zip(seeds, summaries, strict=False)
    ]
    texts = [table(("seed", "best epoch", "accuracy", "macro F1", "log loss"), runs, width, numbers_from=0)]
    if spread:
        texts.append(spread_table(spread, width))
    return "\n\n".join(texts)


def spread_table(spread: Mapping[str, Spread], width: int) -> str:
    """Return every metric's mean and standard deviation over seeds."""
    rows = [
        (
            metric_name(name),
            figure(name, each.mean),
            "-" if each.deviation is None else signed(name, each.deviation).removeprefix("+"),
        )
        for name, each in spread.items()
    ]
    return table(("metric", "mean", "standard deviation"), rows, width)


def _figures(summary: RunSummary | None) -> tuple[str, ...]:
    names = ("accuracy", "macro_f1", "log_loss")
    return tuple("-" if summary is None else figure(name, summary.metrics[name].value) for name in names)
