"""Calibration: confidence against correctness, in bins, and the ECE that chance alone would show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.intervals import wilson
from ftcli.evaluation.predictions import Predictions
from ftcli.records import Interval

ECE_BINS = 15

_CHUNK_CELLS = 1 << 21  # numbers held at once: 16 MB


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose confidence is above `above` and at most `up_to`: a bar of a reliability diagram.

    `confidence` is their mean confidence, `accuracy` the share that is right with its 95 % interval.
    """

    above: float
    up_to: float
    images: int
    confidence: float
    accuracy: Interval


def calibration_bins(predictions: Predictions) -> tuple[CalibrationBin, ...]:
    """Return the bins that hold images, least confident first."""
    bins, gaps = calibration_gaps(predictions)
    images = np.bincount(bins, minlength=ECE_BINS)
    correct = np.bincount(bins, weights=predictions.correct, minlength=ECE_BINS)
    confident = np.bincount(bins, weights=gaps, minlength=ECE_BINS) + correct
    return tuple(
        CalibrationBin(
            above=number / ECE_BINS,
            up_to=(number + 1) / ECE_BINS,
            images=int(images[number]),
            confidence=float(confident[number] / images[number]),
            accuracy=wilson(int(correct[number]), int(images[number])),
        )
        for number in np.flatnonzero(images).tolist()
    )


def calibration_gaps(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each image's confidence bin (N,) and its confidence minus its correctness (N,).

    Fifteen bins of equal width, closed above, of the predicted class's probability (Guo et al. 2017,
    arXiv:1706.04599).
    """
    confidence = predictions.confidence
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins, confidence - predictions.correct


def calibrated_ece(predictions: Predictions, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """Return the ECE (R,) that a perfectly calibrated model with the same confidences would show by chance.

    Consistency resampling (Broecker and Smith 2007, doi:10.1175/WAF993.1): binning makes every ECE positive,
    so a small one proves nothing.
    """
    generator = np.random.default_rng(seed)
    images = len(predictions)
    confidence = predictions.confidence
    bins, _ = calibration_gaps(predictions)
    by_bin = np.argsort(bins, kind="stable")
    confidence = confidence[by_bin]
    starts = np.flatnonzero(np.diff(bins[by_bin], prepend=-1))
    eces = []
    for rows in chunks(images, resamples):
        gaps = confidence - (generator.random((rows, images)) < confidence)
        eces.append(np.abs(np.add.reduceat(gaps, starts, axis=1)).sum(axis=1) / images)
    return np.concatenate(eces)


def chunks(images: int, resamples: int) -> Iterator[int]:
    """Yield how many resamples of so many images to draw at a time, until all are drawn."""
    chunk = max(1, _CHUNK_CELLS // images)
    for first in range(0, resamples, chunk):
        yield min(chunk, resamples - first)
