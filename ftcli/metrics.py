"""The table of metrics: one row for each, which the recipe, the statistics, the gates and every page read.

To add a metric that can be computed from `Sums`, add its row. Everything else follows from it: the figure with its
interval and the difference of two runs, `--metric`, `--fail-if`, `expect:`, and how text, Markdown and pages show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Rows are read where no array is, such as by `ftcli schema`: numpy is never imported here.
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over images, from which metrics are computed; leading axes, if any, are draws of the images.

    `images` (C,) counts the images of each class, `hits` (..., C) those predicted right, and `predicted` (..., C) those
    predicted as it. `losses` (...) adds up log losses in nats. `top5` (...) counts the images whose class is among the
    five most probable, and `gaps` (..., bins) adds up confidence minus correctness by bin of confidence. These two are
    None after each epoch, where only the metrics that a `monitor` may name are computed.
    """

    images: NDArray[np.int64]
    hits: NDArray[Any]
    predicted: NDArray[Any]
    losses: Any
    top5: Any = None
    gaps: Any = None

    @property
    def total(self) -> int:
        """The number of images."""
        return int(self.images.sum())

    @property
    def recalls(self) -> NDArray[np.float64]:
        """The recall of each class that has images (..., present classes)."""
        present = self.images > 0
        recalls: NDArray[np.float64] = self.hits[..., present] / self.images[present]
        return recalls

    @property
    def f1_scores(self) -> NDArray[np.float64]:
        """The F1 score of each class that has images (..., present classes)."""
        present = self.images > 0
        both = self.images[present] + self.predicted[..., present]
        scores: NDArray[np.float64] = 2 * self.hits[..., present] / both
        return scores


@dataclass(frozen=True)
class Metric:
    """One metric: what it is called, its range, how it is computed, and how it is shown.

    `low` and `high` are the ends of its range, None where there is none. `of_sums` computes it; a metric without it
    has code of its own and is not accepted by `--metric`. `share_of` returns which images of some predictions count
    (N,) where the metric is their share, or with `over_classes` the mean of the classes' shares: such metrics have
    intervals in closed form, all others a bootstrap. `no_narrower_than` names a share whose interval is the narrowest
    that is believed. `epoch_name` is the key in the record of every epoch; such a metric can be the `monitor`.
    """

    name: str
    words: str
    of_sums: Callable[[Sums], Any] | None = None
    low: float | None = 0.0
    high: float | None = 1.0
    higher_is_better: bool = True
    as_percent: bool = True
    drawn_with_accuracy: bool = True
    over_classes: bool = False
    fewest_classes: int = 2
    share_of: Callable[[Any], NDArray[np.bool_]] | None = None
    no_narrower_than: str | None = None
    epoch_name: str | None = None

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.higher_is_better else -1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of the range, infinite where there is none."""
        return (-math.inf if self.low is None else self.low, math.inf if self.high is None else self.high)

    @property
    def span(self) -> float:
        """The largest difference of two values."""
        low, high = self.bounds
        return high - low

    @property
    def range_words(self) -> str:
        """The range in words, after "goes"."""
        if self.low is None:
            return "from any number" if self.high is None else f"up to {self.high:g}"
        return f"from {self.low:g} upwards" if self.high is None else f"from {self.low:g} to {self.high:g}"


_ROWS = (
    Metric(
        "accuracy",
        "accuracy",
        lambda sums: sums.hits.sum(axis=-1) / sums.total,
        share_of=lambda predictions: predictions.correct,
        epoch_name="accuracy",
    ),
    Metric(
        "top5_accuracy",
        "top-5 accuracy",
        lambda sums: sums.top5 / sums.total,
        share_of=lambda predictions: predictions.in_top5,
        fewest_classes=6,
    ),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        lambda sums: sums.recalls.mean(axis=-1),
        share_of=lambda predictions: predictions.correct,
        over_classes=True,
        epoch_name="balanced_accuracy",
    ),
    Metric(
        "macro_f1",
        "macro F1",
        lambda sums: sums.f1_scores.mean(axis=-1),
        over_classes=True,
        # A bootstrap cannot see errors that did not occur.
        no_narrower_than="balanced_accuracy",
        epoch_name="macro_f1",
    ),
    Metric(
        "log_loss",
        "log loss",
        lambda sums: sums.losses / sums.total,
        high=None,
        higher_is_better=False,
        as_percent=False,
        drawn_with_accuracy=False,
        epoch_name="loss",
    ),
    Metric(
        "ece",
        "ECE",
        lambda sums: abs(sums.gaps).sum(axis=-1) / sums.total,
        higher_is_better=False,
        drawn_with_accuracy=False,
    ),
    # Of these, evaluation/evaluate.py knows the first, and evaluation/ranking.py the others.
    Metric("worst_class_recall", "worst class recall"),
    Metric("roc_auc", "ROC-AUC", as_percent=False, drawn_with_accuracy=False, over_classes=True),
    Metric("average_precision", "average precision", as_percent=False, drawn_with_accuracy=False, over_classes=True),
)

METRICS = {row.name: row for row in _ROWS}

COMPARABLE = tuple(row.name for row in _ROWS if row.of_sums)
"""The metrics that every set of predictions of enough classes has, and that runs are compared by."""

EXPECTABLE = (*COMPARABLE, "worst_class_recall")
"""The metrics that a recipe may expect something of."""

MONITORS = {f"val_{row.epoch_name}": row for row in _ROWS if row.epoch_name}
"""What a recipe may write as `monitor`, which selects the best epoch."""

SPLITS = ("train", "val", "test")


def split_and_metric(name: str) -> tuple[str | None, str]:
    """Return which split an expectation is about, None for any, and its metric: `val_ece` is ("val", "ece")."""
    split, _, metric = name.partition("_")
    return (split, metric) if split in SPLITS else (None, name)
