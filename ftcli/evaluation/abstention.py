"""Abstention: how many images a model can answer at a target precision, and from which confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftcli.evaluation.intervals import CONFIDENCE, wilson
from ftcli.evaluation.predictions import Predictions
from ftcli.records import Interval

STEPS = 20
"""The number of coverages of the curve: every twentieth of the images."""

_FIRST_COVERAGE = 0.3
"""The coverage that is tested first. Fewer images rarely show anything, and a failure ends the search."""


@dataclass(frozen=True)
class RiskPoint:
    """Answering at or above a confidence: the images answered, their share, and the share of these that is right."""

    threshold: float
    coverage: float
    images: int
    precision: Interval


@dataclass(frozen=True)
class Abstention:
    """The gain from abstaining, as a curve from few answers to all.

    `suggestion` answers the most images for which the precision is at least `target` at 95 % confidence; None where no
    threshold reaches it. `aurc` is the risk averaged over all coverages.
    """

    target: float
    suggestion: RiskPoint | None
    aurc: float
    curve: tuple[RiskPoint, ...]


def abstention(predictions: Predictions, *, target: float) -> Abstention:
    """Return the risk-coverage curve (El-Yaniv and Wiener 2010) and the threshold for a target precision in 0..1.

    The thresholds of the curve are tested in a fixed order, from the strictest that answers 30 % of the images to the
    most lenient, each with the exact bound at 5 %, until one fails: so the last that passed keeps the guarantee
    (fixed-sequence testing, Angelopoulos et al. 2021, arXiv:2110.01052). It holds for images like these.
    """
    confidence = predictions.confidence
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], np.cumsum(predictions.correct[order])
    # Images of equal confidence are answered together.
    ends = np.flatnonzero(np.diff(confidence, append=-1.0))
    places = np.searchsorted(ends + 1, np.arange(1, STEPS + 1) * len(confidence) / STEPS - 1e-9)
    chosen = ends[np.unique(places)]
    curve = tuple(
        RiskPoint(float(confidence[end]), (end + 1) / len(confidence), end + 1, wilson(int(right[end]), end + 1))
        for end in chosen.tolist()
    )
    suggestion = None
    for point, end in zip(curve, chosen.tolist(), strict=True):
        if point.coverage >= _FIRST_COVERAGE - 1e-9:
            if _at_least(int(right[end]), end + 1) < target:
                break
            suggestion = point
    risks = 1 - right[ends] / (ends + 1)
    aurc = float((risks * np.diff(ends, prepend=-1)).sum() / len(confidence))
    return Abstention(target, suggestion, aurc, curve)


def _at_least(right: int, images: int) -> float:
    """Return the exact lower bound of a share (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)."""
    from scipy.special import betaincinv

    return float(betaincinv(right, images - right + 1, 1 - CONFIDENCE)) if right else 0.0
