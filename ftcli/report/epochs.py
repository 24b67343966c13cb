"""Owns the epochs of a run as plain text: a table of them or, of many, of some, and a sparkline under each curve."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ftcli.records import EpochRecord
from ftcli.report.format import printable, table
from ftcli.report.wording import plain, share

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
