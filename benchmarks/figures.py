"""Figures and tables: costs with their spread, ratios of costs, and Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """A median with the lowest and the highest of `repeats` measurements."""

    value: float
    low: float
    high: float
    repeats: int

    def __str__(self) -> str:
        """Return `12.3 (12.1 to 12.9)`, or only the value if it was measured once."""
        if self.repeats == 1:
            return number(self.value)
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})"


def cost_of(values: Sequence[float]) -> Cost:
    """Summarise repeated measurements."""
    return Cost(statistics.median(values), min(values), max(values), len(values))


def ratio(theirs: Cost, ours: Cost) -> str:
    """Return theirs divided by ours; the range pairs the worst of one with the best of the other."""
    value = f"**{number(theirs.value / ours.value)}**"
    if max(theirs.repeats, ours.repeats) == 1:
        return value
    return f"{value} ({number(theirs.low / ours.high)} to {number(theirs.high / ours.low)})"


def number(value: float) -> str:
    """Return about three digits."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.1f} %"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, the first column left-aligned, the others right-aligned."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(lines)


def section(title: str, method: str, *blocks: str) -> str:
    """Return a section of the page: its title, how it was measured, and its tables."""
    return "\n\n".join([f"## {title}", method, *(block for block in blocks if block)])
