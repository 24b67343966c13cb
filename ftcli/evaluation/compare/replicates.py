"""Owns several seeds as one result: which runs are seeds of one recipe, their spread, and groups compared.

Every comparison of groups sees both sources of chance, the images and the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.compare.differences import Difference
from ftcli.evaluation.intervals import CONFIDENCE, shift_with_variance
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.resampling import in_top5, metric_values, resampled_metrics
from ftcli.records import LOWER_IS_BETTER, UNBOUNDED


@dataclass(frozen=True)
class Spread:
    """A metric over seeds: mean, standard deviation (None for one run) and the number of runs."""

    mean: float
    deviation: float | None
    runs: int


@dataclass(frozen=True)
class Estimate:
    """A difference B minus A of means: the centre and variance of its interval, and the degrees of freedom."""

    a: float
    b: float
    centre: float
    variance: float
    freedom: float


def group_by_seed(
    recipes: Sequence[Mapping[str, Any]], images: Sequence[str | None], homes: Sequence[int] | None = None
) -> tuple[tuple[int, ...], ...]:
    """Return which runs belong together: positions of runs whose recipes differ only in `seed`, in their order.

    `images` names what each run was trained on, such as a hash: other images are another experiment. A repeat of a
    recipe with the same seed is no further seed, and starts a group of its own. `homes` numbers the directories of
    seeds that runs come from: those of one stay together, and it is the lone repeat of one of them that stands apart.
    """
    runs = range(len(recipes))

    def join(one: Sequence[int], other: Sequence[int]) -> bool:
        first, second = one[0], other[0]
        same = _but_seed(recipes[first]) == _but_seed(recipes[second]) and images[first] == images[second]
        return same and not {recipes[each].get("seed") for each in one} & {recipes[each].get("seed") for each in other}

    at_home = [list(runs)] if homes is None else [[run for run in runs if homes[run] == home] for home in set(homes)]
    together = [group for members in at_home for group in _joined([[run] for run in members], join)]
    together.sort(key=lambda group: (len(group) == 1, group[0]))
    return tuple(sorted(tuple(sorted(group)) for group in _joined(together, join)))


def _joined(parts: Iterable[list[int]], join: Callable[[Sequence[int], Sequence[int]], bool]) -> list[list[int]]:
    """Put each part to the first group that it joins, or make it one."""
    groups: list[list[int]] = []
    for part in parts:
        group = next((group for group in groups if join(group, part)), None)
        if group is None:
            groups.append([*part])
        else:
            group.extend(part)
    return groups


def _but_seed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key != "seed"}


def seed_spread(runs: Sequence[Predictions]) -> dict[str, Spread]:
    """Return every metric's spread over runs of one recipe."""
    values = [metric_values(run) for run in runs]
    return {name: _spread([each[name] for each in values]) for name in values[0]}


def _spread(values: Sequence[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))


@dataclass(frozen=True)
class GroupEvidence:
    """Two groups of seeds on the same images, and every metric's difference of their means."""

    names: tuple[str, str]
    how: str
    estimates: Mapping[str, Estimate]

    def difference(self, metric: str, *, confidence: float = CONFIDENCE) -> Difference:
        """Return the means of both groups and B minus A with its interval."""
        from scipy.special import stdtrit

        found = self.estimates[metric]
        reach = float(stdtrit(found.freedom, (1 + confidence) / 2)) * math.sqrt(found.variance)
        gap = found.b - found.a
        low, high = min(gap, found.centre - reach), max(gap, found.centre + reach)
        farthest = math.inf if metric in UNBOUNDED else 1.0
        return Difference(found.a, found.b, gap, max(low, -farthest), min(high, farthest))

    def worse(self, metric: str) -> float:
        """Return the one-sided p-value of B's mean being so much worse."""
        return self._tail(metric, -1.0 if metric in LOWER_IS_BETTER else 1.0)

    def better(self, metric: str) -> float:
        """Return the one-sided p-value of B's mean being so much better."""
        return self._tail(metric, 1.0 if metric in LOWER_IS_BETTER else -1.0)

    def _tail(self, metric: str, sign: float) -> float:
        from scipy.special import stdtr

        found = self.estimates[metric]
        if not found.variance:
            return 0.5 if found.centre == 0 else float(sign * found.centre > 0)
        return float(stdtr(found.freedom, sign * found.centre / math.sqrt(found.variance)))


def group_evidence(
    names: tuple[str, str], a: Sequence[Predictions], b: Sequence[Predictions], *, seed: int = 0, resamples: int = 1000
) -> GroupEvidence:
    """Compare two groups of seeds; all runs have the same images and classes in the same order.

    The variance of the difference of means is the sum of what the images and what the seeds of either group
    contribute: a closed form (accuracies) or the bootstrap of the images, the same ones for every run, plus
    deviation² / runs of each group. The sum counts the interplay of seed and image twice and therefore errs on the
    safe side (Owen 2007, the pigeonhole bootstrap, doi:10.1214/07-AOAS122); the degrees of freedom are Satterthwaite's
    (1946, doi:10.2307/3002019). A group of one run has no spread: what is found then holds for that run, not for its
    recipe.
    """
    how = f"{len(a[0])} images, seeds: {len(b)} against {len(a)}"
    return GroupEvidence(names, how, _estimates(a, b, seed=seed, resamples=resamples))


def _estimates(a: Sequence[Predictions], b: Sequence[Predictions], *, seed: int, resamples: int) -> dict[str, Estimate]:
    """Return every metric's difference of means; all runs have the same images and classes in the same order."""
    drawn = resampled_metrics([*a, *b], seed=seed, resamples=resamples)
    spreads = seed_spread(a), seed_spread(b)
    shares = _share_variances(a, b)
    estimates = {}
    for name in spreads[0]:
        moved = np.mean([run[name] for run in drawn[len(a) :]], axis=0) - np.mean(
            [run[name] for run in drawn[: len(a)]], axis=0
        )
        centre, by_images = spreads[1][name].mean - spreads[0][name].mean, float(moved.var(ddof=1))
        if name in shares:
            centre, by_images = shares[name]
        elif name == "macro_f1":  # a bootstrap cannot see errors that did not occur
            by_images = max(by_images, shares["balanced_accuracy"][1])
        estimates[name] = _estimate(spreads[0][name], spreads[1][name], centre, by_images, images=len(a[0]))
    return estimates


def _estimate(a: Spread, b: Spread, centre: float, by_images: float, *, images: int) -> Estimate:
    parts = [(by_images, max(1, images - 1))]
    parts += [(each.deviation**2 / each.runs, each.runs - 1) for each in (a, b) if each.deviation is not None]
    variance = sum(part for part, _ in parts)
    weight = sum(part**2 / freedom for part, freedom in parts)
    return Estimate(a.mean, b.mean, centre, variance, variance**2 / weight if weight else 1.0)


def _share_variances(a: Sequence[Predictions], b: Sequence[Predictions]) -> dict[str, tuple[float, float]]:
    """Return centre and variance by images, in closed form, of the metrics that are shares of images."""
    labels = a[0].labels
    everything = np.zeros_like(labels)
    gap = _mean_gap([run.correct for run in a], [run.correct for run in b])
    found = {"accuracy": _by_images(gap, everything), "balanced_accuracy": _by_images(gap, labels)}
    if len(a[0].classes) > 5:
        found["top5_accuracy"] = _by_images(_mean_gap(map(in_top5, a), map(in_top5, b)), everything)
    return found


def _mean_gap(a: Iterable[NDArray[np.bool_]], b: Iterable[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Return how much more of B's runs than of A's have each image right (N,)."""
    gap: NDArray[np.float64] = np.mean(list(b), axis=0) - np.mean(list(a), axis=0)
    return gap


def _by_images(gap: NDArray[np.float64], strata: NDArray[np.int64]) -> tuple[float, float]:
    images = np.bincount(strata)
    present = images > 0
    total, squares = (np.bincount(strata, weights=each)[present] for each in (gap, gap**2))
    return shift_with_variance(total, squares, images[present])
