"""Temperature scaling: one number that calibrates confidences, fitted on some images and judged on others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ftcli.errors import UsageError
from ftcli.evaluation.calibration import CalibrationBin, calibration_bins
from ftcli.evaluation.compare.differences import Difference, metric_differences
from ftcli.evaluation.compare.pairing import Paired
from ftcli.evaluation.predictions import Predictions

FOLDS = 5
_COLDEST, _HOTTEST = 0.05, 20.0
_JUDGED = ("log_loss", "ece")


@dataclass(frozen=True)
class Calibration:
    """A temperature, what it was fitted on, and the scored images without it (a) and with it (b).

    `folds` is 0 where no scored image was used in the fit. Otherwise the figures are cross-fitted: the temperature
    of each image comes from the folds without it, and `temperature` is the one of all images, for use on others.
    `trained_on` says that the network was trained on the images of the fit, `unbounded` that it is right on all of
    them, so that no temperature is best. `bins` are those of the calibrated predictions.
    """

    temperature: float
    source: str
    images: int
    folds: int
    trained_on: bool
    unbounded: bool
    metrics: Mapping[str, Difference]
    bins: tuple[CalibrationBin, ...]


def calibrate(fitted: Predictions, scored: Predictions, *, source: str, trained_on: bool = False) -> Calibration:
    """Fit a temperature on some predictions and judge it on others, by content never on the same ones.

    Where an image is in both, the fit is cross-fitted over folds by content. Raises UsageError for too few images.
    """
    if len(set(fitted.sha256)) < FOLDS:
        raise UsageError(
            f"has {len(set(fitted.sha256))} images; a temperature needs at least {FOLDS}",
            where=source,
            hint="Choose another split with --calibrate.",
        )
    shared = not set(fitted.sha256).isdisjoint(scored.sha256)
    temperature = fit_temperature(fitted)
    temperatures = _cross_fitted(fitted, scored) if shared else np.full(len(scored), temperature)
    after = tempered(scored, temperatures)
    differences = metric_differences(Paired(scored, after, only_a=0, only_b=0, repeats=0), seed=0, resamples=1000)
    return Calibration(
        temperature=temperature,
        source=source,
        images=len(fitted),
        folds=FOLDS if shared else 0,
        trained_on=trained_on,
        unbounded=bool(fitted.correct.all()),
        metrics={name: differences[name] for name in _JUDGED},
        bins=calibration_bins(after),
    )


def fit_temperature(predictions: Predictions) -> float:
    """Return the temperature with the least log loss (Guo et al. 2017, arXiv:1706.04599), between 0.05 and 20."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, rows = _logits(predictions), np.arange(len(predictions))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / math.exp(log_temperature), axis=1)[rows, predictions.labels].mean())

    bounds = math.log(_COLDEST), math.log(_HOTTEST)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def tempered(predictions: Predictions, temperatures: NDArray[np.float64]) -> Predictions:
    """Return predictions with every image's logits divided by its temperature (N,); no predicted class changes."""
    from scipy.special import softmax

    probabilities = softmax(_logits(predictions) / temperatures[:, None], axis=1)
    return replace(predictions, probabilities=probabilities)


def _cross_fitted(fitted: Predictions, scored: Predictions) -> NDArray[np.float64]:
    """Return each scored image's temperature (N,), fitted on the images of other folds."""
    of_fitted, of_scored = _folds(fitted, fitted), _folds(fitted, scored)
    temperatures = np.array([fit_temperature(fitted.rows(np.flatnonzero(of_fitted != fold))) for fold in range(FOLDS)])
    return temperatures[of_scored]


def _folds(fitted: Predictions, predictions: Predictions) -> NDArray[np.int64]:
    """Return the fold of each image (N,), dealt out by content within each class of the fitted ones."""
    dealt: dict[str, int] = {}
    for label in range(len(fitted.classes)):
        contents = sorted({fitted.sha256[row] for row in np.flatnonzero(fitted.labels == label)})
        # Classes start at different folds, so that many small ones do not all fill the first.
        dealt |= {content: (label + place) % FOLDS for place, content in enumerate(contents)}
    # An image that was not used in the fit may have the temperature of any fold.
    return np.array([dealt.get(content, 0) for content in predictions.sha256], dtype=np.int64)


def _logits(predictions: Predictions) -> NDArray[np.float64]:
    """Return logits up to a constant of each row (N, C); a probability of zero counts as the smallest of float32."""
    logits: NDArray[np.float64] = np.log(np.maximum(predictions.probabilities, np.finfo(np.float32).tiny))
    return logits
