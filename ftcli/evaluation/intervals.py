"""Intervals of counts and averages, 95 % unless asked otherwise, in closed form and from resamples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.metrics import METRICS
from ftcli.records import Interval

CONFIDENCE = 0.95


def z_of(confidence: float) -> float:
    """Return how many standard errors a two-sided normal interval reaches to either side."""
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def wilson(successes: int, images: int) -> Interval:
    """Return the share of successes with Wilson's score interval; images > 0."""
    low, high = wilson_bounds(np.array(successes), np.array(images))
    return Interval(successes / images, float(low), float(high))


def wilson_bounds(successes: NDArray[Any], images: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of Wilson's score intervals (Wilson 1927, doi:10.1080/01621459.1927.10502953), any shape.

    In closed form, because scipy.stats has it for one count at a time and takes half a second to import.
    """
    z = z_of(CONFIDENCE)
    centre = (successes + z**2 / 2) / (images + z**2)
    reach = z / (images + z**2) * np.sqrt(successes * (images - successes) / images + z**2 / 4)
    # At no success and at nothing but successes the ends are 0 and 1 exactly, which rounding would miss.
    low = np.where(successes == 0, 0.0, centre - reach)
    high = np.where(successes == images, 1.0, centre + reach)
    return low, high


def mean_of_shares(successes: NDArray[np.int64], images: NDArray[np.int64]) -> Interval:
    """Return the unweighted mean over classes of successes / images, both (C,) with images > 0.

    The interval adds the squared distances to the Wilson bounds of the classes (MOVER, Zou and Donner 2008,
    doi:10.1002/sim.3095). Unlike a bootstrap it has a width where no image, or every image, is a success.
    """
    if len(images) == 1:
        return wilson(int(successes[0]), int(images[0]))
    shares = successes / images
    low, high = wilson_bounds(successes, images)
    value = float(shares.mean())
    below = math.sqrt(((shares - low) ** 2).sum()) / len(shares)
    above = math.sqrt(((high - shares) ** 2).sum()) / len(shares)
    return Interval(value, max(0.0, value - below), min(1.0, value + above))


def paired_difference(
    b_better: NDArray[np.int64],
    a_better: NDArray[np.int64],
    images: NDArray[np.int64],
    *,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return how much larger B's share of successes is than A's, averaged over classes, all (C,).

    Bonett and Price's interval (2012, doi:10.3102/1076998611411915): one image in favour of each run is
    added, here spread over the classes in proportion to their images. From fifty images on it agrees with
    McNemar's test; a bootstrap of few flips does not (four one-way flips give p = 0.125, and a bootstrap that
    excludes zero).
    """
    value = float(((b_better - a_better) / images).mean())
    centre, variance = shift_with_variance(b_better - a_better, b_better + a_better, images)
    reach = z_of(confidence) * math.sqrt(variance)
    return Interval(value, max(-1.0, centre - reach), min(1.0, centre + reach))


def shift_with_variance(total: NDArray[Any], squares: NDArray[Any], images: NDArray[np.int64]) -> tuple[float, float]:
    """Return centre and variance of the mean over classes of the images' mean shift.

    `total` and `squares` (C,) are sums over each class's images of the shift in -1..1 and of its square; as in
    `paired_difference`, one image in favour of each run is added.
    """
    share = images / images.sum()
    size = images + 2 * share
    mean = total / size
    variance = ((squares + 2 * share) / size - mean**2) / size
    return float(mean.mean()), float(variance.sum()) / len(images) ** 2


def percentile(value: float, resampled: NDArray[np.float64], *, confidence: float = CONFIDENCE) -> Interval:
    """Return a value with the percentile interval of its resampled values (R,) (Efron and Tibshirani 1993).

    A metric that resampling biases, such as the ECE, can leave its own interval: then the interval reaches to
    it.
    """
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def logit_normal(value: float, resampled: NDArray[np.float64], *, images: int) -> Interval:
    """Return a value in 0..1 with the interval that is normal on the logit scale, its error from resamples (R,).

    Near 1, where a percentile interval is far too short, it holds the truth more often. A ranking without any mistake
    leaves a bootstrap no error at all: it counts as if half an image were wrong.
    """
    from scipy.special import expit, logit

    half = 1 / (2 * images)
    inside = min(max(value, half), 1 - half)
    error = float(resampled.std(ddof=1))
    if inside != value:
        error = max(error, math.sqrt(inside * (1 - inside) / images))
    reach = z_of(CONFIDENCE) * error / (inside * (1 - inside))
    low, high = (float(expit(logit(inside) + side * reach)) for side in (-1, 1))
    return Interval(value, min(value, low), max(value, high))


def widened(intervals: Mapping[str, Interval], *, differences: bool = False) -> dict[str, Interval]:
    """Return metrics' intervals, of values or of differences, none narrower than the table of metrics allows.

    Such a one reaches from its value as far as the interval that it must not be narrower than, within its range.
    """
    wide = dict(intervals)
    for name, each in intervals.items():
        if (least := METRICS[name].no_narrower_than) is not None:
            other, span = intervals[least], METRICS[name].span
            bounds = (-span, span) if differences else METRICS[name].bounds
            low = min(each.low, each.value - (other.value - other.low))
            high = max(each.high, each.value + (other.high - other.value))
            wide[name] = Interval(each.value, max(bounds[0], low), min(bounds[1], high))
    return wide
