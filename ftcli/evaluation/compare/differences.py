"""How two runs differ on the same images: every metric and class with intervals, and the images that flipped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.compare.pairing import Paired
from ftcli.evaluation.intervals import CONFIDENCE, paired_difference, percentile, widened
from ftcli.evaluation.resampling import metric_values, resampled_metrics, shares_in_strata
from ftcli.evaluation.significance import holm, sign_test
from ftcli.records import Interval


@dataclass(frozen=True)
class Difference:
    """One metric of both runs, and B minus A with its 95 % interval."""

    a: float
    b: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassDifference(Difference):
    """The recall of one class in both runs, and B minus A with its 95 % interval.

    `p_value` is of the exact sign test on the class's images, `adjusted` the same adjusted for the number of classes.
    """

    name: str
    images: int
    p_value: float
    adjusted: float

    def to_json(self) -> dict[str, Any]:
        """Return the difference as plain data, the class first."""
        return {"name": self.name, "images": self.images, **asdict(self)}


@dataclass(frozen=True)
class Flip:
    """An image that exactly one run has right, with what each predicted and its probability."""

    path: str
    label: str
    a_predicted: str
    b_predicted: str
    a_probability: float
    b_probability: float


def metric_differences(
    paired: Paired, *, confidence: float = CONFIDENCE, seed: int, resamples: int
) -> dict[str, Difference]:
    """Return each metric's difference; both runs are resampled with the same images.

    Shares of images have the closed form that agrees with McNemar's test.
    """
    of_a, of_b = metric_values(paired.a), metric_values(paired.b)
    drawn_a, drawn_b = resampled_metrics([paired.a, paired.b], seed=seed, resamples=resamples)
    gaps = {
        name: percentile(of_b[name] - of_a[name], drawn_b[name] - drawn_a[name], confidence=confidence) for name in of_a
    }
    gaps = widened(gaps | share_differences(paired, confidence=confidence), differences=True)
    return {name: Difference(of_a[name], of_b[name], gap.value, gap.low, gap.high) for name, gap in gaps.items()}


def class_differences(paired: Paired) -> tuple[ClassDifference, ...]:
    """Return how the recall of each class that has images differs, in the order of the classes."""
    gained, lost, images = _flips_by(paired.a.labels, paired.a.correct, paired.b.correct)
    right = np.bincount(paired.a.labels, weights=paired.a.correct)
    present = np.flatnonzero(images)
    p_values = sign_test(gained[present], lost[present]).tolist()
    differences = []
    for label, p_value, adjusted in zip(present.tolist(), p_values, holm(p_values), strict=True):
        one = slice(label, label + 1)
        gap = paired_difference(gained[one], lost[one], images[one])
        recall = float(right[label] / images[label])
        of_b = float((right[label] + gained[label] - lost[label]) / images[label])
        gaps = recall, of_b, gap.value, gap.low, gap.high
        differences.append(ClassDifference(*gaps, paired.a.classes[label], int(images[label]), p_value, adjusted))
    return tuple(differences)


def flips_of(paired: Paired, chosen: NDArray[np.bool_]) -> tuple[Flip, ...]:
    """Return the chosen images (N,) as flips, ordered by path."""
    classes = paired.a.classes
    a_predicted, b_predicted = paired.a.predicted, paired.b.predicted
    flips = (
        Flip(
            path=paired.a.paths[image],
            label=classes[paired.a.labels[image]],
            a_predicted=classes[a_predicted[image]],
            b_predicted=classes[b_predicted[image]],
            a_probability=float(paired.a.probabilities[image, a_predicted[image]]),
            b_probability=float(paired.b.probabilities[image, b_predicted[image]]),
        )
        for image in np.flatnonzero(chosen)
    )
    return tuple(sorted(flips, key=lambda flip: flip.path))


def share_differences(paired: Paired, *, confidence: float) -> dict[str, Interval]:
    """Return the differences of the metrics that are shares of images, or means of such shares over classes."""
    differences = {}
    for name, share_of, strata in shares_in_strata(paired.a):
        gained, lost, images = _flips_by(strata, share_of(paired.a), share_of(paired.b))
        present = images > 0
        differences[name] = paired_difference(gained[present], lost[present], images[present], confidence=confidence)
    return differences


def _flips_by(
    strata: NDArray[np.int64], a: NDArray[np.bool_], b: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each stratum of images (N,), the successes of B alone, of A alone, and the images."""
    gained, lost = (np.bincount(strata, weights=each).astype(np.int64) for each in (b & ~a, a & ~b))
    return gained, lost, np.bincount(strata)
