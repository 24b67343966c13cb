"""What trackers log, under flat names: the recipe's keys, each epoch's figures, and the best epoch's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ftcli.records import EpochRecord, RunSummary

EPOCH_MARK = "train/loss"
"""A figure that every epoch has; it shows a tracker which epochs it already logged."""

_PLAIN_KEY = re.compile(r"[\w.-]{1,100}", re.ASCII)  # what MLflow allows in a name on every file system

Flat = dict[str, str | int | float | bool]


def flat_recipe(values: Mapping[str, Any]) -> Flat:
    """Return a recipe's values by the dotted keys of overrides; null and lists are JSON text.

    A section with a key that trackers refuse, such as the glob `features.*`, becomes JSON text as a whole.
    """
    flat: Flat = {}
    for key, value in values.items():
        if inner := _section(value):
            flat |= {f"{key}.{name}": each for name, each in flat_recipe(inner).items()}
        else:
            flat[key] = value if isinstance(value, (str, int, float)) else json.dumps(value)
    return flat


def epoch_figures(record: EpochRecord) -> dict[str, float]:
    """Return the figures of one epoch; a frozen group has no rate, and `frozen` is 1."""
    return {
        EPOCH_MARK: record.train_loss,
        "train/accuracy": record.train_accuracy,
        **{f"val/{name}": value for name, value in record.val.items()},
        **{f"lr/{group}": rate for group, rate in record.lr.items() if rate is not None},
        **{f"frozen/{group}": float(rate is None) for group, rate in record.lr.items()},
        "phase": record.phase_index,
        "seconds": record.seconds,
    }


def best_figures(summary: RunSummary) -> dict[str, float]:
    """Return the best epoch and its metrics, with 95 % intervals."""
    figures: dict[str, float] = {"best/epoch": summary.best_epoch}
    for name, interval in summary.metrics.items():
        figures |= {
            f"best/{name}": interval.value,
            f"best/{name}_low": interval.low,
            f"best/{name}_high": interval.high,
        }
    return figures


def _section(value: Any) -> dict[str, Any]:
    """Return the parts of a value that have names of their own; none for a plain value."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return {str(number): each for number, each in enumerate(value)}
    if isinstance(value, Mapping) and all(_PLAIN_KEY.fullmatch(key) for key in value):
        return dict(value)
    return {}
