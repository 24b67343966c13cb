"""Owns plain text for a screen or a log: tables that fit a width, prose, counts and safe names.

Owns how figures and settings read, wherever they are shown: names of metrics, shares, differences, p-values.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftcli.evaluation.compare.differences import Difference
from ftcli.evaluation.compare.result import Pending
from ftcli.evaluation.evaluate import ClassMetrics, Evaluation
from ftcli.evaluation.ranking import QUICK_CELLS, ROC_AUC
from ftcli.metrics import METRICS
from ftcli.records import Interval, RunSummary

# Control characters, those that turn the direction of writing around, and halves of characters.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_NAME = 12
"""Names are given this many columns, or what they need, however narrow the screen is."""

_UNBOUNDED = 10_000


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, numbers_from: int = 1, gap: int = 1
) -> str:
    """Return a table; columns from `numbers_from` on are set flush right and never broken.

    Names are broken to keep to the width, but nothing is left out: where there is no room for the numbers and a
    beginning of every name, the table is wider, and the terminal breaks its lines.
    """
    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="", padding=(0, gap))
    widths = _widths(header, rows, width - 2, numbers_from, gap)
    for position, (name, cells) in enumerate(zip(header, widths, strict=True)):
        number = position >= numbers_from
        grid.add_column(Text(name), justify="right" if number else "left", no_wrap=number, overflow="fold", width=cells)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    screen = io.StringIO()
    Console(file=screen, width=_UNBOUNDED, color_system=None, legacy_windows=False).print(grid)
    lines = screen.getvalue().splitlines()
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, numbers_from: int, gap: int) -> list[int]:
    """Return how wide each column is: as wide as its cells, but for names that must share what is left."""
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    spare = width - (len(header) - 1) * (2 * gap + 1) - sum(widths)
    names = range(min(numbers_from, len(header)))
    while spare < 0 and any(widths[name] > _NAME for name in names):
        widest = max(names, key=lambda name: widths[name])
        widths[widest] -= 1
        spare += 1
    return widths


def prose(text: str, width: int) -> str:
    """Break sentences at a width, but never a word."""
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def count(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: 1 image, 2 images."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def printable(name: str) -> str:
    """Return a name with control characters, turns of direction and undecodable bytes shown as escapes."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), name)


VAL_CHOSE_THE_EPOCH = "The best epoch was chosen on these images, which flatters it; a test split tells the truth."

_VERY_LARGE = 1e5
_ABSENT = 5


def metric_name(name: str) -> str:
    """Return a metric's name in words, saying which ones are better when they are lower."""
    metric = METRICS[name]
    return metric.words if metric.higher_is_better else f"{metric.words} (lower is better)"


def _as_percent(name: str) -> bool:
    """Return whether a figure is shown as a percentage; those of one class, such as its recall, always are."""
    return name not in METRICS or METRICS[name].as_percent


def figure(name: str, value: float) -> str:
    """Return a metric's value: a percentage, or a plain number for what is no share."""
    return f"{100 * value:.1f} %" if _as_percent(name) else plain(value, 3)


def plain(value: float, digits: int) -> str:
    """Return a number that may be anything, such as a loss: with a power of ten where it is very large."""
    return f"{value:.{digits}f}" if abs(value) < _VERY_LARGE else f"{value:.{digits}e}"


def interval_text(name: str, interval: Interval) -> str:
    """Return the ends of a metric's interval."""
    return f"{figure(name, interval.low)} to {figure(name, interval.high)}"


def signed(name: str, value: float) -> str:
    """Return a difference of a metric: points, or a plain number for what is no share."""
    return f"{100 * value:+.1f}" if _as_percent(name) else f"{value:+.3f}"


def share(value: float | None) -> str:
    """Return a share as a percentage; a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f} %"


def setting(value: Any) -> str:
    """Return a value of a recipe on one line."""
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def gates_met(summary: RunSummary | None) -> str:
    """Return how many of a run's expectations hold; a dash where none was judged."""
    if summary is None or not summary.gates:
        return "-"
    return f"{sum(gate.holds for gate in summary.gates)} of {len(summary.gates)}"


def unchecked_text(names: Sequence[str]) -> str:
    """Return which expectations speak of other images than those that were scored."""
    return f"Not checked, since these images are another split: {', '.join(names)}." if names else ""


def ranking_text(evaluation: Evaluation) -> str:
    """Return what ROC-AUC and average precision are, or why they are not there."""
    if ROC_AUC in evaluation.metrics:
        return "ROC-AUC and average precision are means over the classes, each of them against the rest."
    if evaluation.images * len(evaluation.classes) > QUICK_CELLS:
        return "ROC-AUC of so many images and classes takes a while; ftcli eval computes it."
    return ""


def absent_text(evaluation: Evaluation) -> str:
    """Return which classes none of the scored images belongs to, and what the means over classes then leave out."""
    absent = [printable(each.name) for each in evaluation.per_class if not each.images]
    if not absent:
        return ""
    named = ", ".join(absent[:_ABSENT]) + (f" and {len(absent) - _ABSENT} more" if len(absent) > _ABSENT else "")
    left = len(evaluation.classes) - len(absent)
    rest = "the other class alone" if left == 1 else f"the other {left} classes"
    means = [metric_name(name) for name in evaluation.metrics if METRICS[name].over_classes]
    return f"No scored image is of {named}: {', '.join(means[:-1])} and {means[-1]} are means over {rest}."


def pending_text(pending: Pending) -> str:
    """Return what to know of runs that are compared before their end, and how to get there."""
    early, awaited = pending.unfinished, pending.awaited
    sentences = []
    if early:
        have, their = ("has", "its") if len(early) == 1 else ("have", "their")
        sentences.append(f"{', '.join(early)} {have} not finished: {their} figures are those of {their} epochs so far.")
    if awaited:
        have, are = ("has", "is") if len(awaited) == 1 else ("have", "are")
        sentences.append(f"{', '.join(awaited)} {have} no figures yet and {are} left out.")
    them = "it" if len(early) + len(awaited) == 1 else "them"
    return f"{' '.join(sentences)} Finish {them}: ftcli train --resume {shlex.quote(pending.resume)}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def difference_cells(name: str, found: Difference) -> tuple[str, str, str, str]:
    """Return a metric of two sides as cells of a table: A, B, B minus A and its 95 % interval."""
    low, high = signed(name, found.low), signed(name, found.high)
    return figure(name, found.a), figure(name, found.b), signed(name, found.difference), f"{low} to {high}"


def class_cells(found: ClassMetrics) -> tuple[str, ...]:
    """Return how one class does as cells of a table: images, precision, recall, its 95 % interval and F1."""
    return (
        str(found.images),
        share(found.precision.value if found.precision else None),
        share(found.recall.value if found.recall else None),
        interval_text("recall", found.recall) if found.recall else "-",
        share(found.f1),
    )
