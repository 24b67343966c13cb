"""What `ftcli train` shows: the epochs of a run and its figures, or the runs of several seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from ftcli.evaluation.compare.replicates import Spread
from ftcli.evaluation.evaluate import Evaluation
from ftcli.metrics import MONITORS
from ftcli.plan import Plan
from ftcli.records import EpochRecord, RunSummary
from ftcli.report.format import VAL_CHOSE_THE_EPOCH, figure, plain, share
from ftcli.report.sections import Prose, Section, Table, numbers, prose, texts
from ftcli.report.text.compare import SHARED_VIEWS, spread_table
from ftcli.report.text.eval import figures

_ALL = 40
"""Up to this many epochs are all shown; of more, a dozen."""

_ROWS = 12
_SPARKLINE = 12  # marks: as wide as the widest header above them


def run_sections(
    summary: RunSummary, evaluation: Evaluation, plan: Plan, records: Sequence[EpochRecord], *, marks: str = ""
) -> list[Section]:
    """Return how a run ended: its epochs, then the best one's figures with intervals.

    `marks` are the characters of sparklines; without any, there are no sparklines.
    """
    stopped = f", stopped early of {plan.epochs}" if summary.epochs < plan.epochs else ""
    best = f"best epoch {summary.best_epoch} of {summary.epochs}{stopped}, by {summary.monitor}"
    several = summary.epochs > 1  # a run of one epoch had none to choose
    return [
        Section("", prose(f"{best}; {summary.images} val images, {summary.seconds:.1f} s")),
        Section("", epoch_parts(records, summary.best_epoch, marks=marks, monitor=summary.monitor) if several else ()),
        Section("", figures(evaluation)),
        Section("", prose(VAL_CHOSE_THE_EPOCH) if several else ()),
    ]


def epoch_parts(
    records: Sequence[EpochRecord], best_epoch: int, *, marks: str = "", monitor: str = "val_accuracy"
) -> tuple[Table | Prose, ...]:
    """Return the epochs, the best one starred, and with `marks` each column's curve over all epochs.

    Of many, a dozen are shown; the first epoch of every phase is among them as long as there is room. The monitor has a
    column of its own if it is neither accuracy nor loss.
    """
    chosen_by = monitor.removeprefix("val_")
    more = [] if chosen_by in {"accuracy", "loss"} else [chosen_by]
    rows = [
        (
            record.phase,
            f"* {record.epoch}" if record.epoch == best_epoch else str(record.epoch),
            plain(record.comparable_train_loss, 4),
            plain(record.val["loss"], 4),
            share(record.val["accuracy"]),
            *(share(record.val[name]) for name in more),
            f"{record.seconds:.1f}",
        )
        for record in (records[index] for index in shown_epochs(records, best_epoch))
    ]
    left_out = f"{len(rows)} of {len(records)} epochs; metrics.jsonl has them all" if len(rows) < len(records) else ""
    if marks:
        names = ("loss", "accuracy", *more)
        values = [(record.comparable_train_loss, *(record.val[name] for name in names)) for record in records]
        rows.append(("all", "", *(sparkline(curve, marks) for curve in zip(*values, strict=True)), ""))
    monitored = [f"val {MONITORS[monitor].words}" for _ in more]
    columns = (*texts("phase"), *numbers("epoch", "train loss", "val loss", "val accuracy", *monitored, "seconds"))
    return Table(columns, rows), *prose(left_out)


def shown_epochs(records: Sequence[EpochRecord], best_epoch: int) -> list[int]:
    """Return the indices of the epochs to show: all, or the last, the best, the first of each phase, then even ones."""
    if len(records) <= _ALL:
        return list(range(len(records)))
    last = len(records) - 1
    starts = [i for i in range(last + 1) if i == 0 or records[i].phase_index != records[i - 1].phase_index]
    even = [round(step * last / (_ROWS - 1)) for step in range(_ROWS)]
    wanted = dict.fromkeys([last, best_epoch - 1, *starts, *even])
    return sorted(list(wanted)[:_ROWS])


def sparkline(values: Sequence[float], marks: str) -> str:
    """Return a curve as one mark per value, or per run of neighbouring values where there are many."""
    cells = min(len(values), _SPARKLINE)
    bounds = [round(cell * len(values) / cells) for cell in range(cells + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in itertools.pairwise(bounds)]
    low, high = min(means), max(means)
    if low == high:
        return marks[0] * cells
    return "".join(marks[round((mean - low) / (high - low) * (len(marks) - 1))] for mean in means)


def seeds_sections(
    seeds: Sequence[int], summaries: Sequence[RunSummary | None], spread: Mapping[str, Spread]
) -> list[Section]:
    """Return a table of the runs, and the spread of every metric."""
    names = ("accuracy", "macro_f1", "log_loss")
    rows = [
        (
            str(seed),
            "-" if summary is None else str(summary.best_epoch),
            *("-" if summary is None else figure(name, summary.metrics[name].value) for name in names),
        )
        for seed, summary in zip(seeds, summaries, strict=False)
    ]
    runs = Table(numbers("seed", "best epoch", "accuracy", "macro F1", "log loss"), rows)
    return [Section("", (runs,)), Section("", (spread_table(spread), Prose(SHARED_VIEWS)) if spread else ())]
