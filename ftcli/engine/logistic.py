"""Logistic regression on features, at the L2 strength that does best on held-out parts of train.

The field's linear probe (Kornblith et al. 2019, arXiv:1805.08974): scikit-learn's L-BFGS along a logarithmic grid of
strengths, each fit starting from the one before. They compare strengths on a validation split, ftcli in folds of train.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftcli.errors import DatasetError, RunError
from ftcli.records import ProbeRecord, StrengthTrial
from ftcli.rng import stable_seed

if TYPE_CHECKING:  # imported where a head is fitted, and nowhere else
    from sklearn.linear_model import LogisticRegression

STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(2, -13, -1))
"""The L2 strengths, the strongest first: 10 to 1e-6, two per decade."""

ENOUGH_WORSE = 3
"""Weaker strengths, which take longest, are skipped once this many in a row were worse than the best."""

FOLDS = 5

SEARCH_TOLERANCE = 1e-4
FIT_TOLERANCE = 1e-8
CONVERGED = 1e-5
"""The largest slope at which a fit ends, in the search and finally, and at which the final fit counts as converged.

The search also runs in float32: a third of the time, for held-out losses that agree to three digits.
"""

BYTES_PER_FEATURE = 16
"""The memory of the final fit: all features, a copy of them, and one in float64."""

Precise = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The images to fit to, and those held out."""

MAX_ITERATIONS = 10_000

_TIMED_ROWS = 512
_LOOKS = 800
"""Roughly how often L-BFGS reads every row, over all strengths and folds."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Features (N, views, D) of images, labels (N,), and clusters (N,): equal for images that belong together.

    `plain` (N, D) are the features of the images as they are scored, without augmentation: held-out images count so.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    plain: NDArray[np.float32]

    def rows(self, images: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the views of some images as rows (n * views, D), with their labels: a copy."""
        chosen = self.features[images]
        return chosen.reshape(-1, chosen.shape[-1]), self.labels[images].repeat(chosen.shape[1])


def fit_head(
    examples: Examples, *, biased: bool, seed: int, on_fit: Callable[[int, int], None]
) -> tuple[Linear, ProbeRecord]:
    """Return the linear classifier of the examples at the strength that cross-validation prefers.

    The folds depend on the seed; the solution depends on nothing else, since the problem is convex. `biased` says
    whether the head has a bias. `on_fit` is called with (fits done, fits to do at most). Raises DatasetError where
    there are too few images to hold any out.
    """
    from threadpoolctl import threadpool_limits

    folds = make_folds(examples, seed=seed)
    fits = len(STRENGTHS) * len(folds) + 1
    # Threads that wait for one another after every short product took 40 times as long on a busy machine, and their
    # number changes the sums.
    with threadpool_limits(1, user_api="blas"):
        trials = _search(examples, folds, biased=biased, on_fit=lambda done: on_fit(done, fits))
        # min takes the first, and so the strongest, of equal ones.
        strength = min(trials, key=lambda trial: trial.log_loss).strength
        linear, iterations, slope = _converged(examples, strength, biased=biased)
    on_fit(fits, fits)  # the strengths that were skipped count as done
    return linear, ProbeRecord(strength, len(folds), tuple(trials), iterations, slope)


def make_folds(examples: Examples, *, seed: int) -> list[Fold]:
    """Split the images into stratified folds that keep clusters together.

    There are FOLDS, or as many as the largest class has clusters. A fold is skipped where the other images have a
    single class, or none of the fold's classes. Raises DatasetError where no fold is left.
    """
    from sklearn.model_selection import StratifiedKFold

    # Not StratifiedGroupKFold, which takes half a millisecond for each cluster.
    _, first, cluster_of = np.unique(examples.clusters, return_index=True, return_inverse=True)
    labels = examples.labels
    count = min(FOLDS, int(np.bincount(labels[first]).max()))
    usable: list[Fold] = []
    if count > 1:
        splitter = StratifiedKFold(count, shuffle=True, random_state=stable_seed("folds", seed) % 2**32)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of classes with fewer images than folds
            splits = list(splitter.split(first, labels[first]))
        for _, held_clusters in splits:
            held = np.isin(cluster_of, held_clusters)
            fold = np.flatnonzero(~held), np.flatnonzero(held)
            if len(np.unique(labels[fold[0]])) > 1 and len(_known(labels, fold)):
                usable.append(fold)
    if not usable:
        raise DatasetError(
            f"{len(labels)} training images are too few to hold any out, which is how lbfgs picks its L2 strength",
            hint="Add images, or set strategy.solver to sgd.",
        )
    return usable


def _search(
    examples: Examples, folds: list[Fold], *, biased: bool, on_fit: Callable[[int], None]
) -> list[StrengthTrial]:
    """Return the mean log loss of held-out images at one strength after another, from the strongest."""
    models = [make_model(SEARCH_TOLERANCE, biased=biased) for _ in folds]
    trials: list[StrengthTrial] = []
    for strength in STRENGTHS:
        likelihoods = []
        for model, fold in zip(models, folds, strict=True):
            likelihoods.append(_held_out(examples, fold, model, strength))
            on_fit(len(trials) * len(folds) + len(likelihoods))
        trials.append(StrengthTrial(strength, float(-np.concatenate(likelihoods).mean())))
        losses = [trial.log_loss for trial in trials]
        if len(losses) - losses.index(min(losses)) > ENOUGH_WORSE:
            break
    return trials


def _converged(examples: Examples, strength: float, *, biased: bool) -> tuple[Linear, int, float]:
    """Return the classifier of all examples at one strength, its number of iterations, and the remaining slope."""
    rows, labels = examples.rows(np.arange(len(examples.labels)))
    scaled = Scaled.of(rows.astype(np.float64), labels, biased=biased)
    model = make_model(FIT_TOLERANCE, biased=biased)
    solution = scaled.fit(model, strength)
    slope = scaled.slope(solution, strength)
    if not slope <= CONVERGED:
        raise RunError(
            f"L-BFGS did not converge in {MAX_ITERATIONS} iterations: a slope of {slope:.1e} is left",
            hint="Set strategy.solver to sgd.",
        )
    return scaled.for_features(solution), int(model.n_iter_[0]), slope


def _held_out(examples: Examples, fold: Fold, model: LogisticRegression, strength: float) -> Precise:
    """Return the log likelihood of the held-out images whose class was fitted to, seen as they are scored."""
    # A class without an image in this part has no logit in it.
    classes = np.unique(examples.labels[fold[0]])
    rows, labels = examples.rows(fold[0])
    scaled = Scaled.of(rows, np.searchsorted(classes, labels), biased=model.fit_intercept)
    linear = scaled.for_features(scaled.fit(model, strength))
    held = _known(examples.labels, fold)
    rows, labels = examples.plain[held], examples.labels[held]
    likelihood: Precise = _log_softmax(rows @ linear.weights.T + linear.bias)
    return likelihood[np.arange(len(labels)), np.searchsorted(classes, labels)]


def _known(labels: NDArray[np.int64], fold: Fold) -> NDArray[np.int64]:
    """Return the held-out images whose class is also among the others."""
    fit, held = fold
    known: NDArray[np.int64] = held[np.isin(labels[held], labels[fit])]
    return known


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear classifier of features: weights (classes, D) and bias (classes,)."""

    weights: Precise
    bias: Precise


@dataclass(frozen=True, eq=False)
class Scaled:
    """Features (n, D) minus their means, divided by one number, their root mean square; labels (n,) count from 0.

    With an unpenalised bias, centring does not change the solution. One number for all keeps the penalty a ball in
    feature space, gives strengths the same meaning for every network, and saves L-BFGS iterations.
    """

    rows: Floats
    labels: NDArray[np.int64]
    centre: Precise
    scale: float
    biased: bool

    @classmethod
    def of(cls, rows: Floats, labels: NDArray[np.int64], *, biased: bool) -> Scaled:
        """Centre and scale rows in place; without a bias that could make up for it, do not centre."""
        centre = rows.mean(axis=0, dtype=np.float64) if biased else np.zeros(rows.shape[1])
        rows -= centre.astype(rows.dtype)
        scale = float(np.sqrt(np.vdot(rows, rows) / rows.size)) or 1.0
        rows /= scale
        return cls(rows, labels, centre, scale, biased)

    def fit(self, model: LogisticRegression, strength: float) -> Linear:
        """Return the classifier of the scaled rows, one row of weights per class, starting from the last fit."""
        from sklearn.exceptions import ConvergenceWarning

        # For two classes, scikit-learn fits one row w: the rows -w/2 and w/2 have half its penalty.
        binary = self.labels.max() == 1
        model.set_params(C=(2 if binary else 1) / (strength * len(self.rows)))
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # the slope is checked
            model.fit(self.rows, self.labels)
        weights = model.coef_.astype(np.float64)
        bias = np.broadcast_to(np.float64(model.intercept_), len(weights))
        return Linear(_both(weights), _both(bias)) if binary else Linear(weights, bias)

    def slope(self, solution: Linear, strength: float) -> float:
        """Return the largest slope of mean log loss and penalty at a solution."""
        slopes = np.exp(_log_softmax(self.rows @ solution.weights.T + solution.bias))
        slopes[np.arange(len(self.labels)), self.labels] -= 1
        of_weights = slopes.T @ self.rows / len(self.rows) + strength * solution.weights
        of_bias = slopes.mean(axis=0) if self.biased else 0.0
        return float(max(np.abs(of_weights).max(), np.abs(of_bias).max()))

    def for_features(self, solution: Linear) -> Linear:
        """Turn a solution for the scaled rows into one for the plain features."""
        weights = solution.weights / self.scale
        return Linear(weights, solution.bias - weights @ self.centre)


def make_model(tolerance: float, *, biased: bool) -> LogisticRegression:
    """Return a regression that starts each fit where the last one ended, until no slope is above the tolerance."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(tol=tolerance, max_iter=MAX_ITERATIONS, fit_intercept=biased, warm_start=True)


def fitting_seconds(rows: int, *, inputs: int, classes: int) -> float:
    """Estimate the time to fit a head to so many rows of features on this machine."""
    from threadpoolctl import threadpool_limits

    features, weights = np.ones((_TIMED_ROWS, inputs), np.float32), np.ones((classes, inputs), np.float32)
    with threadpool_limits(1, user_api="blas"):
        started = time.perf_counter()
        slopes = np.exp(features @ weights.T * 1e-6)
        slopes.T @ features
        return rows * _LOOKS * (time.perf_counter() - started) / _TIMED_ROWS


def _both(row: Precise) -> Precise:
    return np.concatenate([-row / 2, row / 2])


def _log_softmax(logits: Precise) -> Precise:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Precise = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
