"""Replicates, runs that differ only in the seed: which runs they are, their spread, and two sets of them compared.

Every comparison of them counts both sources of chance, the images and the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ftcli.evaluation.compare.differences import Difference
from ftcli.evaluation.intervals import CONFIDENCE, shift_with_variance
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.resampling import metric_values, resampled_metrics, shares_in_strata
from ftcli.metrics import METRICS
from ftcli.phrases import count


@dataclass(frozen=True)
class Spread:
    """A metric over seeds: mean, standard deviation (None for one run) and the number of runs."""

    mean: float
    deviation: float | None
    runs: int


@dataclass(frozen=True)
class Replicates:
    """Runs whose recipes differ only in their seeds, and the spread of every metric over them.

    `directory` is the one that holds exactly these runs, if one does. A run without any other is there alone.
    """

    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    metrics: Mapping[str, Spread]
    directory: str | None = None

    @property
    def name(self) -> str:
        """The directory of the runs, the only run, or the first of several with their number."""
        if self.directory is not None:
            return self.directory
        more = len(self.runs) - 1
        return f"{self.runs[0]} and {count(more, 'more seed')}" if more else self.runs[0]

    def to_json(self) -> dict[str, Any]:
        """Return the replicates as plain data."""
        return {
            "name": self.name,
            "runs": list(self.runs),
            "seeds": list(self.seeds),
            "metrics": {name: asdict(spread) for name, spread in self.metrics.items()},
        }


def compares_means(replicates: Sequence[Replicates]) -> bool:
    """Return whether means over seeds are compared: if recipes differ and seeds repeat; else single runs are."""
    return 1 < len(replicates) < sum(len(each.runs) for each in replicates)


def spread_of(runs: Sequence[Predictions]) -> dict[str, Spread]:
    """Return every metric's spread over runs of one recipe."""
    values = [metric_values(run) for run in runs]
    spreads = {}
    for name in values[0]:
        figures = [each[name] for each in values]
        deviation = float(np.std(figures, ddof=1)) if len(runs) > 1 else None
        spreads[name] = Spread(float(np.mean(figures)), deviation, len(runs))
    return spreads


def find_replicates(
    recipes: Sequence[Mapping[str, Any]], images: Sequence[str | None], homes: Sequence[int] | None = None
) -> tuple[tuple[int, ...], ...]:
    """Return which runs are replicates of each other: positions of runs whose recipes differ only in `seed`.

    `images` identifies what each run was trained on, such as a hash: other images are another experiment. A repeat of
    a recipe with the same seed is not a further seed, and starts a set of its own. `homes` numbers the directories of
    seeds that runs come from: the runs of one directory stay together.

    Example: a lone run with seed 0, given before a directory with the seeds 0 and 1 of the same recipe, is not joined
    with either of them: ((0,), (1, 2)).
    """
    experiments = [
        ({key: value for key, value in recipe.items() if key != "seed"}, trained_on)
        for recipe, trained_on in zip(recipes, images, strict=True)
    ]
    seeds = [recipe.get("seed") for recipe in recipes]
    by_home: dict[int, list[list[int]]] = {}
    for run in range(len(recipes)):
        by_home.setdefault(0 if homes is None else homes[run], []).append([run])
    together: list[list[int]] = []
    for alone in by_home.values():
        together += _joined(alone, experiments, seeds)
    # Sets of several seeds come before single runs, so that it is the lone repeat of a seed that stays out.
    together.sort(key=lambda runs: (len(runs) == 1, runs[0]))
    return tuple(sorted(tuple(sorted(runs)) for runs in _joined(together, experiments, seeds)))


def _joined(parts: Iterable[list[int]], experiments: Sequence[object], seeds: Sequence[object]) -> list[list[int]]:
    """Add each set of runs to the first one of the same experiment without any of its seeds."""
    joined: list[list[int]] = []
    for part in parts:
        own = {seeds[run] for run in part}
        for runs in joined:
            if experiments[runs[0]] == experiments[part[0]] and own.isdisjoint(seeds[run] for run in runs):
                runs.extend(part)
                break
        else:
            joined.append([*part])
    return joined


@dataclass(frozen=True)
class Estimate:
    """A difference B minus A of means: the centre and variance of its interval, and the degrees of freedom."""

    a: float
    b: float
    centre: float
    variance: float
    freedom: float


@dataclass(frozen=True)
class ReplicatesEvidence:
    """Two sets of replicates on the same images, and every metric's difference of their means."""

    names: tuple[str, str]
    how: str
    estimates: Mapping[str, Estimate]

    def difference(self, metric: str, *, confidence: float = CONFIDENCE) -> Difference:
        """Return the means of both and B minus A with its interval. Raises KeyError for a metric that they lack."""
        from scipy.special import stdtrit

        found = self.estimates[metric]
        reach = float(stdtrit(found.freedom, (1 + confidence) / 2)) * math.sqrt(found.variance)
        gap = found.b - found.a
        low, high = min(gap, found.centre - reach), max(gap, found.centre + reach)
        farthest = METRICS[metric].span
        return Difference(found.a, found.b, gap, max(low, -farthest), min(high, farthest))

    def worse(self, metric: str) -> float:
        """Return the one-sided p-value of B's mean being so much worse."""
        return self._tail(metric, METRICS[metric].sign)

    def better(self, metric: str) -> float:
        """Return the one-sided p-value of B's mean being so much better."""
        return self._tail(metric, -METRICS[metric].sign)

    def _tail(self, metric: str, sign: float) -> float:
        from scipy.special import stdtr

        found = self.estimates[metric]
        if not found.variance:
            return 0.5 if found.centre == 0 else float(sign * found.centre > 0)
        return float(stdtr(found.freedom, sign * found.centre / math.sqrt(found.variance)))


def replicates_evidence(
    names: tuple[str, str], a: Sequence[Predictions], b: Sequence[Predictions], *, seed: int = 0, resamples: int = 1000
) -> ReplicatesEvidence:
    """Compare two sets of replicates; all runs have the same images and classes in the same order.

    The variance of the difference of means adds up what the images and what the seeds of either side contribute: a
    closed form (accuracies) or the bootstrap of the images, the same ones for every run, plus deviation² / runs of each
    side. The sum counts the interplay of seed and image twice and therefore errs on the safe side (Owen 2007, the
    pigeonhole bootstrap, doi:10.1214/07-AOAS122); the degrees of freedom are Satterthwaite's (1946,
    doi:10.2307/3002019). A side of one run has no spread: the result then holds for that run, not for its recipe.
    """
    how = f"{len(a[0])} images, seeds: {len(b)} against {len(a)}"
    return ReplicatesEvidence(names, how, _estimates(a, b, seed=seed, resamples=resamples))


def _estimates(a: Sequence[Predictions], b: Sequence[Predictions], *, seed: int, resamples: int) -> dict[str, Estimate]:
    """Return every metric's difference of means; all runs have the same images and classes in the same order."""
    drawn = resampled_metrics([*a, *b], seed=seed, resamples=resamples)
    drawn_a, drawn_b = drawn[: len(a)], drawn[len(a) :]
    spread_a, spread_b = spread_of(a), spread_of(b)
    shares = _share_variances(a, b)
    estimates = {}
    for name in spread_a:
        moved = np.mean([run[name] for run in drawn_b], axis=0) - np.mean([run[name] for run in drawn_a], axis=0)
        centre, by_images = spread_b[name].mean - spread_a[name].mean, float(moved.var(ddof=1))
        if name in shares:
            centre, by_images = shares[name]
        elif (least := METRICS[name].no_narrower_than) is not None:
            by_images = max(by_images, shares[least][1])
        estimates[name] = _estimate(spread_a[name], spread_b[name], centre, by_images, images=len(a[0]))
    return estimates


def _estimate(a: Spread, b: Spread, centre: float, by_images: float, *, images: int) -> Estimate:
    parts = [(by_images, max(1, images - 1))]
    parts += [(each.deviation**2 / each.runs, each.runs - 1) for each in (a, b) if each.deviation is not None]
    variance = sum(part for part, _ in parts)
    weight = sum(part**2 / freedom for part, freedom in parts)
    return Estimate(a.mean, b.mean, centre, variance, variance**2 / weight if weight else 1.0)


def _share_variances(a: Sequence[Predictions], b: Sequence[Predictions]) -> dict[str, tuple[float, float]]:
    """Return centre and variance by images, in closed form, of the metrics that are shares of images."""
    found = {}
    for name, share_of, strata in shares_in_strata(a[0]):
        # How much more of B's runs than of A's have each image right (N,).
        gap = np.mean([share_of(run) for run in b], axis=0) - np.mean([share_of(run) for run in a], axis=0)
        images = np.bincount(strata)
        present = images > 0
        total, squares = (np.bincount(strata, weights=each)[present] for each in (gap, gap**2))
        found[name] = shift_with_variance(total, squares, images[present])
    return found
