"""Owns multinomial logistic regression with an L2 penalty: scikit-learn's L-BFGS on scaled features."""

from __future__ import annotations

import time
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # imported where a head is fitted, and nowhere else
    from sklearn.linear_model import LogisticRegression

MAX_ITERATIONS = 10_000

_TIMED_ROWS = 512
_LOOKS = 800
"""About how often L-BFGS looks at every row, at all strengths and in all folds together."""

Precise = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear classifier of features: weights (classes, D) and bias (classes,)."""

    weights: Precise
    bias: Precise

    def log_likelihood(self, rows: Floats, labels: NDArray[np.int64]) -> Precise:
        """Return the log of each row's probability of its label (n,)."""
        log_probabilities = _log_softmax(rows @ self.weights.T + self.bias)
        likelihood: Precise = log_probabilities[np.arange(len(labels)), labels]
        return likelihood


@dataclass(frozen=True, eq=False)
class Scaled:
    """Features (n, D) about their means, divided by one number, their root mean square; labels (n,) count from 0.

    With an unpenalised bias, centring leaves the solution as it is; one number for all keeps the penalty a ball in the
    space of the features, gives strengths the same meaning for every network, and spares L-BFGS iterations.
    """

    rows: Floats
    labels: NDArray[np.int64]
    centre: Precise
    scale: float
    biased: bool

    @classmethod
    def of(cls, rows: Floats, labels: NDArray[np.int64], *, biased: bool) -> Scaled:
        """Centre and scale rows in place; without a bias to make up for it, they are not centred."""
        centre = rows.mean(axis=0, dtype=np.float64) if biased else np.zeros(rows.shape[1])
        rows -= centre.astype(rows.dtype)
        scale = float(np.sqrt(np.vdot(rows, rows) / rows.size)) or 1.0
        rows /= scale
        return cls(rows, labels, centre, scale, biased)

    def fit(self, model: LogisticRegression, strength: float) -> Linear:
        """Return the classifier of the scaled rows, one row of weights for each class, starting where `model` is."""
        from sklearn.exceptions import ConvergenceWarning

        # For two classes, scikit-learn fits one row w: the rows -w/2 and w/2 have half its penalty.
        binary = self.labels.max() == 1
        model.set_params(C=(2 if binary else 1) / (strength * len(self.rows)))
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # the slope tells
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
        """Return a solution for the scaled rows as one for the features as they come."""
        weights = solution.weights / self.scale
        return Linear(weights, solution.bias - weights @ self.centre)


def make_model(tolerance: float, *, biased: bool) -> LogisticRegression:
    """Return a regression that starts each fit where the one before it ended, until no slope is above the tolerance."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(tol=tolerance, max_iter=MAX_ITERATIONS, fit_intercept=biased, warm_start=True)


def one_blas_thread() -> AbstractContextManager[object]:
    """Return the context in which numpy multiplies matrices on one thread.

    Threads that wait for one another after every short product took 40 times as long on a busy machine, and their
    number changes the sums.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def fitting_seconds(rows: int, *, inputs: int, classes: int) -> float:
    """Return about how long fitting a head to so many rows of features takes on this machine."""
    features, weights = np.ones((_TIMED_ROWS, inputs), np.float32), np.ones((classes, inputs), np.float32)
    with one_blas_thread():
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
