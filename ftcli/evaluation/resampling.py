"""The metrics of predictions as functions of sums over images: their values, and those of resampled images.

Every metric in the table is a function of `Sums`, so one sparse product per chunk of resamples serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.calibration import ECE_BINS, calibration_gaps, chunks
from ftcli.evaluation.predictions import Predictions
from ftcli.metrics import COMPARABLE, METRICS, MONITORS, Metric, Sums

EPSILON = float(np.finfo(np.float64).eps)
"""The smallest probability that the log loss sees, as in scikit-learn."""


def log_losses(likelihoods: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the log losses (N,) in nats of the probabilities that images' labels have (N,)."""
    # Not negated: the loss of a certain answer is 0, not -0.
    losses: NDArray[np.float64] = np.abs(np.log(np.clip(likelihoods.astype(np.float64), EPSILON, 1.0)))
    return losses


def confusion_of(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how many images of each true class (rows) were predicted as each class (columns), (C, C)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def quick_metrics(labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Return the metrics of each epoch, by their names there, from labels (N,) and probabilities (N, C).

    They are those that a `monitor` may name. Without scipy, whose import would delay every training run.
    """
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    # Counts by class: a matrix of pairs of classes would be far larger than the probabilities of many classes.
    images, hits, predictions = (
        np.bincount(each, minlength=classes) for each in (labels, labels[labels == predicted], predicted)
    )
    losses = log_losses(probabilities[np.arange(len(labels)), labels]).sum()
    sums = Sums(images, hits=hits, predicted=predictions, losses=losses)
    values = {row.epoch_name or name: _value(row, sums) for name, row in MONITORS.items()}
    return {name: float(value) for name, value in sorted(values.items())}


def metric_values(predictions: Predictions) -> dict[str, float]:
    """Return the value of every metric that so many classes have, without intervals.

    Averages over classes are over those that have images; a class that is never predicted has an F1 of zero. The
    definitions are scikit-learn's, and tests hold them to it.
    """
    sums = _sums(_summands(predictions) @ np.ones((len(predictions), 1)), predictions)
    return {name: float(value[0]) for name, value in _metrics_of(sums).items()}


def resampled_metrics(
    runs: Sequence[Predictions], *, seed: int, resamples: int
) -> tuple[dict[str, NDArray[np.float64]], ...]:
    """Return, for each run, every metric's name with its resampled values (R,).

    Images are drawn with replacement within each true class, and the same ones for every run; all runs must have the
    same classes and images in the same order.
    """
    from scipy import sparse

    labels = runs[0].labels
    assert all(np.array_equal(run.labels, labels) for run in runs), "runs are paired by image"
    summands = sparse.vstack([_summands(run) for run in runs], format="csr")
    sums = [summands @ weights for weights in weights_of(labels, seed=seed, resamples=resamples)]
    drawn = np.split(np.hstack(sums), len(runs))
    return tuple(_metrics_of(_sums(each, runs[0])) for each in drawn)


def swapped_metrics(a: Predictions, b: Predictions, *, seed: int, resamples: int) -> dict[str, NDArray[np.float64]]:
    """Return every metric's differences B minus A (R,) after the runs have swapped a random half of the images.

    Both must have the same classes and images in the same order.
    """
    assert np.array_equal(a.labels, b.labels), "runs are paired by image"
    of_a, of_b = _summands(a), _summands(b)
    gap, whole = (of_b - of_a).tocsr(), np.ones((len(a), 1))
    generator = np.random.default_rng(seed)
    moved = np.hstack(
        [gap @ generator.integers(0, 2, (len(a), rows)).astype(np.float64) for rows in chunks(len(a), resamples)]
    )
    after_a = _metrics_of(_sums(of_a @ whole + moved, a))
    after_b = _metrics_of(_sums(of_b @ whole - moved, a))
    return {name: after_b[name] - after_a[name] for name in after_a}


def shares_in_strata(
    predictions: Predictions,
) -> Iterator[tuple[str, Callable[[Predictions], NDArray[np.bool_]], NDArray[np.int64]]]:
    """Yield each metric that is a share of images: its name, which images count, and each image's stratum (N,).

    A mean of the classes' shares has the classes as strata, and any other share one for all images.
    """
    for name in COMPARABLE:
        row = METRICS[name]
        if row.share_of is not None and len(predictions.classes) >= row.fewest_classes:
            yield name, row.share_of, predictions.labels if row.over_classes else np.zeros_like(predictions.labels)


def weights_of(labels: NDArray[np.int64], *, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each image (N,) is drawn in each resample of its class, (N, chunk) at a time."""
    generator = np.random.default_rng(seed)
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    sizes = np.repeat(counts, counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    images = len(labels)
    for rows in chunks(images, resamples):
        drawn = (generator.random((rows, images)) * sizes).astype(np.int64) + starts
        cells = by_class[drawn] + images * np.arange(rows)[:, None]
        drawn_counts = np.bincount(cells.ravel(), minlength=rows * images).reshape(rows, images)
        yield np.ascontiguousarray(drawn_counts.T, dtype=np.float64)


def _summands(predictions: Predictions) -> Any:
    """Return what each image adds to each sum, sparse (2 + bins + 2 C, N).

    Rows: log loss, top-5 hits, calibration gaps by bin, hits by class, predictions by class.
    """
    from scipy import sparse

    images, classes = predictions.probabilities.shape
    bins, gaps = calibration_gaps(predictions)
    losses = log_losses(predictions.likelihoods)
    ones, first = np.ones(images), 2 + ECE_BINS
    rows = [np.zeros(images), ones, 2 + bins, first + predictions.labels, first + classes + predictions.predicted]
    values = [losses, predictions.in_top5, gaps, predictions.correct, ones]
    shape = (first + 2 * classes, images)
    columns = np.tile(np.arange(images), len(rows))
    places = (np.concatenate(rows).astype(np.int64), columns)
    return sparse.csr_array((np.concatenate(values).astype(np.float64), places), shape=shape)


def _sums(summed: NDArray[np.float64], predictions: Predictions) -> Sums:
    """Return the summands' sums (2 + bins + 2 C, R) by name, for draws from the images of these predictions."""
    classes = len(predictions.classes)
    gaps, hits, predicted = np.split(summed[2:], [ECE_BINS, ECE_BINS + classes])
    images = np.bincount(predictions.labels, minlength=classes)
    return Sums(images, hits=hits.T, predicted=predicted.T, losses=summed[0], top5=summed[1], gaps=gaps.T)


def _metrics_of(sums: Sums) -> dict[str, NDArray[np.float64]]:
    """Return each metric (R,) that so many classes have."""
    rows = (METRICS[name] for name in COMPARABLE)
    return {row.name: _value(row, sums) for row in rows if len(sums.images) >= row.fewest_classes}


def _value(row: Metric, sums: Sums) -> Any:
    assert row.of_sums is not None, f"{row.name} is not a function of sums"
    return row.of_sums(sums)
