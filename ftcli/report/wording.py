"""Owns how figures and settings read, wherever they are shown: names of metrics, shares, differences, p-values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ftcli.records import LOWER_IS_BETTER, Interval, metric_words
from ftcli.report.text import printable

VAL_CHOSE_THE_EPOCH = "The best epoch was chosen on these images, which flatters it; a test split tells the truth."

_NOT_A_SHARE = frozenset({"log_loss", "roc_auc", "average_precision"})


def metric_name(name: str) -> str:
    """Return a metric's name in words, saying which ones are better when they are lower."""
    words = metric_words(name)
    return f"{words} (lower is better)" if name in LOWER_IS_BETTER else words


def figure(name: str, value: float) -> str:
    """Return a metric's value: a percentage, or a plain number for what is no share."""
    return f"{value:.3f}" if name in _NOT_A_SHARE else f"{100 * value:.1f} %"


def interval_text(name: str, interval: Interval) -> str:
    """Return the ends of a metric's interval."""
    return f"{figure(name, interval.low)} to {figure(name, interval.high)}"


def signed(name: str, value: float) -> str:
    """Return a difference of a metric: points, or a plain number for what is no share."""
    return f"{value:+.3f}" if name in _NOT_A_SHARE else f"{100 * value:+.1f}"


def share(value: float | None) -> str:
    """Return a share as a percentage; a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f} %"


def setting(value: Any) -> str:
    """Return a value of a recipe on one line."""
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def unchecked_text(names: Sequence[str]) -> str:
    """Return which expectations speak of other images than those that were scored."""
    return f"Not checked, since these images are another split: {', '.join(names)}." if names else ""


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
