"""P-values: the exact sign test, the randomization test of any metric, and the adjustment for several tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.compare.pairing import Paired
from ftcli.evaluation.resampling import metric_values, swapped_metrics
from ftcli.metrics import METRICS

SIGNIFICANCE = 0.05


def sign_test(gained: NDArray[Any], lost: NDArray[Any]) -> NDArray[np.float64]:
    """Return the exact two-sided p-values of splits as uneven as gained and lost, any shape.

    On images that exactly one of two runs has right it is McNemar's exact test (McNemar 1947,
    doi:10.1007/BF02295996).
    """
    from scipy.special import bdtr

    tail: NDArray[np.float64] = bdtr(np.minimum(gained, lost), gained + lost, 0.5)
    return np.minimum(1.0, 2 * tail)


def loss_test(gained: NDArray[Any], lost: NDArray[Any]) -> NDArray[np.float64]:
    """Return the exact one-sided p-values of having lost so many more than gained, any shape."""
    from scipy.special import bdtr

    tail: NDArray[np.float64] = bdtr(gained, gained + lost, 0.5)
    return tail


def worse_p_value(paired: Paired, metric: str, *, seed: int, resamples: int) -> float:
    """Return the one-sided p-value of B doing so much worse than A, were the runs of one kind.

    Accuracy has the exact sign test. Other metrics have the paired randomization test that it is a case of: runs
    of one kind could swap any image's predictions and change nothing but chance (Noreen 1989; Yeh 2000,
    arXiv:cs/0008005).
    """
    if metric == "accuracy":
        a, b = paired.a.correct, paired.b.correct
        return float(loss_test((b & ~a).sum(), (a & ~b).sum()))
    sign = METRICS[metric].sign
    observed = sign * (metric_values(paired.b)[metric] - metric_values(paired.a)[metric])
    swapped = sign * swapped_metrics(paired.a, paired.b, seed=seed, resamples=resamples)[metric]
    # Sums in another order differ in the last digits, which must not make equal differences differ.
    return float((1 + (swapped <= observed + 1e-12).sum()) / (1 + resamples))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for their number (Holm 1979, www.jstor.org/stable/4615733).

    Of those that stay below a level, one or more is false at most that often.
    """
    order = np.argsort(p_values, kind="stable")
    ordered = np.array(p_values, dtype=np.float64)[order]
    stepped = np.minimum(1.0, np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)))
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return tuple(adjusted.tolist())


def p_text(value: float) -> str:
    """Return a p-value with two digits."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
