"""The evaluation of predictions: every metric with its 95 % interval, classes, confusions and calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.calibration import CalibrationBin, calibrated_ece, calibration_bins
from ftcli.evaluation.intervals import mean_of_shares, percentile, widened, wilson
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.resampling import confusion_of, metric_values, resampled_metrics, shares_in_strata
from ftcli.records import SCHEMA, Interval, Metrics

_UNEVEN = 1.5


@dataclass(frozen=True)
class ClassMetrics:
    """The figures of one class. None is undefined: recall and F1 without images, precision without predictions.

    `roc_auc` and `average_precision`, against all other classes, are filled in by `with_ranking`.
    """

    name: str
    images: int
    precision: Interval | None
    recall: Interval | None
    f1: float | None
    roc_auc: float | None = None
    average_precision: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain figures, each interval's ends after its value."""
        value: dict[str, Any] = {"name": self.name, "images": self.images}
        for name, interval in (("precision", self.precision), ("recall", self.recall)):
            value[name] = interval and interval.value
            value[f"{name}_low"] = interval and interval.low
            value[f"{name}_high"] = interval and interval.high
        return {**value, "f1": self.f1, "roc_auc": self.roc_auc, "average_precision": self.average_precision}


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were predicted as another, and their share of the class's images."""

    true: str
    predicted: str
    images: int
    share: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Every figure of some predictions. `confusion` (C, C) counts images: true classes by predicted."""

    images: int
    classes: tuple[str, ...]
    metrics: Metrics
    per_class: tuple[ClassMetrics, ...]
    confusion: NDArray[np.int64]
    calibration: tuple[CalibrationBin, ...]

    @cached_property
    def most_confused(self) -> tuple[ConfusedPair, ...]:
        """Every pair of classes that was confused, the most images first, then in the order of the classes."""
        true, predicted = np.nonzero(self.confusion)
        images = self.confusion[true, predicted]
        shares = images / self.confusion.sum(axis=1)[true]
        order = np.argsort(-images, kind="stable")
        order = order[true[order] != predicted[order]]
        return tuple(
            ConfusedPair(
                self.classes[true[pair]], self.classes[predicted[pair]], int(images[pair]), float(shares[pair])
            )
            for pair in order
        )

    @property
    def uneven_share(self) -> float | None:
        """The share of the most common class, where it has over 1.5 times the images of the rarest; else None.

        It is the accuracy of a model that always answers with that class.
        """
        images = [each.images for each in self.per_class if each.images]
        return max(images) / self.images if max(images) > _UNEVEN * min(images) else None

    @property
    def never_predicted(self) -> tuple[ClassMetrics, ...]:
        """The classes that have images, but that no image was predicted as."""
        return tuple(each for each in self.per_class if each.images and each.precision is None)

    @property
    def worst_class(self) -> ClassMetrics:
        """The class with the lowest recall among those with images; of equal ones, the first."""
        present = [(row.recall.value, row) for row in self.per_class if row.recall is not None]
        return min(present, key=lambda each: each[0])[1]

    def to_json(self) -> dict[str, Any]:
        """Return what `ftcli eval --json` prints."""
        return {
            "schema": SCHEMA,
            "images": self.images,
            "classes": list(self.classes),
            "metrics": {name: asdict(interval) for name, interval in self.metrics.items()},
            "per_class": [row.to_json() for row in self.per_class],
            "never_predicted": [each.name for each in self.never_predicted],
            "confusion": self.confusion.tolist(),
            "most_confused": [asdict(pair) for pair in self.most_confused],
            "calibration": [asdict(each) for each in self.calibration],
        }


def evaluate(predictions: Predictions, *, seed: int = 0, resamples: int = 1000) -> Evaluation:
    """Return all metrics of predictions with their intervals, per class and as a confusion matrix.

    Shares of images have Wilson intervals, balanced accuracy the combination of its classes' ones; the others come from
    a stratified bootstrap of so many resamples. The interval of an ECE that a perfectly calibrated model could show by
    chance starts at zero. Raises DatasetError for images without labels.
    """
    assert len(predictions) > 0, "no image was scored"
    confusion = confusion_of(predictions.labels, predictions.predicted, len(predictions.classes))
    return Evaluation(
        images=len(predictions),
        classes=predictions.classes,
        metrics=_intervals(predictions, seed=seed, resamples=resamples),
        per_class=_per_class(predictions.classes, confusion),
        confusion=confusion,
        calibration=calibration_bins(predictions),
    )


def _intervals(predictions: Predictions, *, seed: int, resamples: int) -> dict[str, Interval]:
    """Return every metric with the interval that suits it."""
    values = metric_values(predictions)
    (resampled,) = resampled_metrics([predictions], seed=seed, resamples=resamples)
    metrics = {name: percentile(value, resampled[name]) for name, value in values.items()}
    for name, share_of, strata in shares_in_strata(predictions):
        images, successes = np.bincount(strata), np.bincount(strata[share_of(predictions)], minlength=strata.max() + 1)
        metrics[name] = mean_of_shares(successes[images > 0], images[images > 0])
    by_chance = percentile(0.0, calibrated_ece(predictions, seed=seed, resamples=resamples)).high
    if values["ece"] <= by_chance:
        metrics["ece"] = replace(metrics["ece"], low=0.0)
    return widened(metrics)


def _per_class(classes: tuple[str, ...], confusion: NDArray[np.int64]) -> tuple[ClassMetrics, ...]:
    """Return each class's precision and recall with Wilson's intervals, and its F1."""
    rows = zip(classes, confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal(), strict=True)
    return tuple(
        ClassMetrics(
            name,
            int(images),
            precision=wilson(int(hits), int(predicted)) if predicted else None,
            recall=wilson(int(hits), int(images)) if images else None,
            f1=float(2 * hits / (images + predicted)) if images else None,
        )
        for name, images, predicted, hits in rows
    )
