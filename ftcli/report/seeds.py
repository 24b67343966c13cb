"""Owns the runs of several seeds as plain text: a line for each, and the spread of every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftcli.evaluation.compare.replicates import Spread
from ftcli.records import RunSummary
from ftcli.report.format import table
from ftcli.report.wording import figure, metric_name, signed


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
