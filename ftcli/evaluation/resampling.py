"""Owns the metrics as functions of sums over images: their values, and those of resampled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.calibration import ECE_BINS, calibration_gaps
from ftcli.evaluation.predictions import Predictions

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


def metric_values(predictions: Predictions) -> dict[str, float]:
    """Return every metric's value, without intervals.

    Balanced accuracy and macro F1 average over the classes that have images; a class that is never predicted
    counts with an F1 of zero. Top-5 accuracy exists only with more than five classes. The definitions are
    scikit-learn's, and tests hold them to it; one set of formulas serves values and resamples alike.
    """
    images = np.bincount(predictions.labels, minlength=len(predictions.classes))
    sums = _summands(predictions) @ np.ones((len(predictions), 1))
    return {name: float(value[0]) for name, value in _metrics_of_sums(sums, images).items()}


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
    chunks = [summands @ weights for weights in weights_of(labels, seed=seed, resamples=resamples)]
    sums = np.split(np.hstack(chunks), len(runs))
    images = np.bincount(labels, minlength=len(runs[0].classes))
    return tuple(_metrics_of_sums(each, images) for each in sums)


def swapped_metrics(a: Predictions, b: Predictions, *, seed: int, resamples: int) -> dict[str, NDArray[np.float64]]:
    """Return every metric's differences B minus A (R,) after the runs have swapped a random half of the images.

    Both must have the same classes and images in the same order.
    """
    assert np.array_equal(a.labels, b.labels), "runs are paired by image"
    sums_a, sums_b = _summands(a), _summands(b)
    gap, whole = (sums_b - sums_a).tocsr(), np.ones((len(a), 1))
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // len(a))
    chunks = []
    for first in range(0, resamples, rows):
        swapped = generator.integers(0, 2, (len(a), min(rows, resamples - first))).astype(np.float64)
        chunks.append(gap @ swapped)
    moved = np.hstack(chunks)
    images = np.bincount(a.labels, minlength=len(a.classes))
    after_a, after_b = (_metrics_of_sums(s, images) for s in (sums_a @ whole + moved, sums_b @ whole - moved))
    return {name: after_b[name] - after_a[name] for name in after_a}


def weights_of(labels: NDArray[np.int64], *, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each image (N,) was drawn within its class, (N, chunk) at a time."""
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
    metrics = {"accuracy": hits.sum(axis=0) / total}
    if classes > 5:
        metrics["top5_accuracy"] = sums[1] / total
    return metrics | {
        "balanced_accuracy": (hits[present] / size).mean(axis=0),
        "macro_f1": (2 * hits[present] / (size + predicted[present])).mean(axis=0),
        "log_loss": sums[0] / total,
        "ece": np.abs(gaps).sum(axis=0) / total,
    }
