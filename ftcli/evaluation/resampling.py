"""Owns the stratified bootstrap: metrics of resampled images, the same ones for every run compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.predictions import Predictions

ECE_BINS = 15
EPSILON = float(np.finfo(np.float64).eps)
"""The smallest probability that the log-loss sees, as in scikit-learn."""

_CHUNK_CELLS = 1 << 21  # weights held at once: 16 MB


def log_losses(predictions: Predictions) -> NDArray[np.float64]:
    """Return each image's negative log-likelihood in nats (N,)."""
    likelihood = predictions.normalized[np.arange(len(predictions)), predictions.labels]
    return -np.log(np.clip(likelihood, EPSILON, 1.0))


def in_top5(predictions: Predictions) -> NDArray[np.bool_]:
    """Return whether each label is one of the five most probable classes (N,); of equal ones, the first."""
    probabilities, labels = predictions.probabilities, predictions.labels[:, None]
    own = np.take_along_axis(probabilities, labels, axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels
    ahead: NDArray[np.int64] = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    return ahead < 5


def calibration_gaps(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each image's confidence bin (N,) and its confidence minus its correctness (N,).

    Fifteen bins of equal width, closed above, of the predicted class's probability (Guo et al. 2017,
    arXiv:1706.04599).
    """
    confidence = predictions.normalized.max(axis=1)
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins, confidence - predictions.correct


def resampled_metrics(
    runs: Sequence[Predictions], *, seed: int, resamples: int
) -> tuple[dict[str, NDArray[np.float64]], ...]:
    """Return, for each run, every metric's name with its resampled values (R,).

    Images are drawn with replacement within each true class, and the same ones for every run; all runs must
    have the same classes and images in the same order. Every metric is a function of sums over images, so one
    sparse product per chunk of resamples serves them all.
    """
    from scipy import sparse

    labels = runs[0].labels
    assert all(np.array_equal(run.labels, labels) for run in runs), "runs are paired by image"
    summands = sparse.vstack([_summands(run) for run in runs], format="csr")
    chunks = [summands @ weights for weights in _weights(labels, seed=seed, resamples=resamples)]
    sums = np.split(np.hstack(chunks), len(runs))
    images = np.bincount(labels, minlength=len(runs[0].classes))
    return tuple(_metrics_of_sums(each, images) for each in sums)


def calibrated_ece(predictions: Predictions, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """Return the ECE (R,) that a perfectly calibrated model with the same confidences would show by chance.

    Consistency resampling (Broecker and Smith 2007, doi:10.1175/WAF993.1): binning makes every ECE positive,
    so a small one proves nothing.
    """
    generator = np.random.default_rng(seed)
    images = len(predictions)
    confidence = predictions.normalized.max(axis=1)
    bins, _ = calibration_gaps(predictions)
    by_bin = np.argsort(bins, kind="stable")
    confidence = confidence[by_bin]
    starts = np.flatnonzero(np.diff(bins[by_bin], prepend=-1))
    chunk = max(1, _CHUNK_CELLS // images)
    eces = []
    for first in range(0, resamples, chunk):
        rows = min(chunk, resamples - first)
        gaps = confidence - (generator.random((rows, images)) < confidence)
        eces.append(np.abs(np.add.reduceat(gaps, starts, axis=1)).sum(axis=1) / images)
    return np.concatenate(eces)


def _weights(labels: NDArray[np.int64], *, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each image was drawn, (N, chunk) at a time."""
    generator = np.random.default_rng(seed)
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    sizes = np.repeat(counts, counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    images = len(labels)
    chunk = max(1, _CHUNK_CELLS // images)
    for first in range(0, resamples, chunk):
        rows = min(chunk, resamples - first)
        drawn = (generator.random((rows, images)) * sizes).astype(np.int64) + starts
        cells = by_class[drawn] + images * np.arange(rows)[:, None]
        drawn_counts = np.bincount(cells.ravel(), minlength=rows * images).reshape(rows, images)
        yield np.ascontiguousarray(drawn_counts.T, dtype=np.float64)


def _summands(predictions: Predictions) -> Any:
    """Return what each image adds to each sum, sparse (2 + bins + 2 C, N).

    Rows: log-loss, top-5 hits, calibration gaps by bin, hits by class, predictions by class.
    """
    from scipy import sparse

    images, classes = predictions.probabilities.shape
    bins, gaps = calibration_gaps(predictions)
    ones, first = np.ones(images), 2 + ECE_BINS
    rows = [
        np.zeros(images),
        ones,
        2 + bins,
        first + predictions.labels,
        first + classes + predictions.predicted,
    ]
    values = [log_losses(predictions), in_top5(predictions), gaps, predictions.correct, ones]
    shape = (first + 2 * classes, images)
    columns = np.tile(np.arange(images), len(rows))
    places = (np.concatenate(rows).astype(np.int64), columns)
    return sparse.csr_array((np.concatenate(values).astype(np.float64), places), shape=shape)


def _metrics_of_sums(sums: NDArray[np.float64], images: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return the metrics (R,) of the summands' sums (2 + bins + 2 C, R) and of images per class (C,)."""
    total, classes = images.sum(), len(images)
    present = images > 0
    gaps, hits, predicted = np.split(sums[2:], [ECE_BINS, ECE_BINS + classes])
    size = images[present, None]
    metrics = {
        "accuracy": hits.sum(axis=0) / total,
        "balanced_accuracy": (hits[present] / size).mean(axis=0),
        "macro_f1": (2 * hits[present] / (size + predicted[present])).mean(axis=0),
        "log_loss": sums[0] / total,
        "ece": np.abs(gaps).sum(axis=0) / total,
    }
    if classes > 5:
        metrics["top5_accuracy"] = sums[1] / total
    return metrics
