"""How well probabilities rank images: ROC-AUC and average precision, each class against the rest.

The definitions are scikit-learn's, weights and ties included, and tests hold them to it; here every resample of the
bootstrap is computed at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.intervals import logit_normal
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.resampling import weights_of

ROC_AUC, AVERAGE_PRECISION = "roc_auc", "average_precision"
_CELLS = 200_000_000  # images x classes x resamples: a few seconds
_FEWEST = 100

QUICK_CELLS = 1_000_000
"""With more images x classes, `with_ranking` takes longer than one wants to wait: minutes for a thousand classes."""


def with_ranking(
    evaluation: Evaluation, predictions: Predictions, *, seed: int = 0, if_quick: bool = False
) -> Evaluation:
    """Return the evaluation with ROC-AUC and average precision: of each class, and their means with intervals.

    With `if_quick`, an evaluation of more than QUICK_CELLS images x classes is returned as it is. A class without
    images, or with all of them, has neither and is not in the means; so is one with no class left. The stratified
    bootstrap has 1000 resamples, of large sets at least 100.
    """
    if if_quick and predictions.probabilities.size > QUICK_CELLS:
        return evaluation
    images = np.bincount(predictions.labels, minlength=len(predictions.classes))
    ranked = np.flatnonzero((images > 0) & (images < len(predictions)))
    if not len(ranked):
        return evaluation
    values = _rank(predictions, ranked, np.ones((len(predictions), 1)))[:, :, 0]
    resamples = int(np.clip(_CELLS / (len(predictions) * len(ranked)), _FEWEST, 1000))
    drawn = [
        _rank(predictions, ranked, weights).mean(axis=1)
        for weights in weights_of(predictions.labels, seed=seed, resamples=resamples)
    ]
    means = np.concatenate(drawn, axis=1)
    metrics = {
        name: logit_normal(float(values[place].mean()), means[place], images=len(predictions))
        for place, name in enumerate((ROC_AUC, AVERAGE_PRECISION))
    }
    rows = list(evaluation.per_class)
    for place, label in enumerate(ranked.tolist()):
        auc, precision = values[:, place].tolist()
        rows[label] = replace(rows[label], roc_auc=auc, average_precision=precision)
    return replace(evaluation, metrics={**evaluation.metrics, **metrics}, per_class=tuple(rows))


def _rank(predictions: Predictions, ranked: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ROC-AUC and average precision of each ranked class for each column of weights (N, R): (2, C, R)."""
    probabilities, labels = predictions.probabilities, predictions.labels
    each = [ranks_of(probabilities[:, label], labels == label, weights) for label in ranked.tolist()]
    return np.stack(each, axis=1)


def ranks_of(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ROC-AUC and average precision (2, R) of scores (N,) for each column of weights (N, R)."""
    order = np.argsort(-scores, kind="stable")
    # Equal scores enter together: no threshold lies between them.
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    ordered = weights[order]
    hits = np.add.reduceat(np.where(positive[order, None], ordered, 0.0), starts)
    all_hits, taken = np.cumsum(hits, axis=0), np.cumsum(np.add.reduceat(ordered, starts), axis=0)
    misses = taken - all_hits
    positives, negatives = all_hits[-1], misses[-1]
    # For each hit, count the misses ranked below it, and half of those with an equal score.
    tied = np.diff(misses, axis=0, prepend=0.0)
    auc = (hits * (negatives - misses + tied / 2)).sum(axis=0) / (positives * negatives)
    # A resample may leave out the most confident images altogether.
    precision = np.divide(all_hits, taken, out=np.zeros_like(taken), where=taken > 0)
    return np.stack([auc, (hits * precision).sum(axis=0) / positives])
