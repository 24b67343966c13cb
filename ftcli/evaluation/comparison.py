"""Owns the statistics of two runs on the same images: what changed, and whether the images can resolve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.intervals import at_least_as_wide, paired_difference, percentile
from ftcli.evaluation.metrics import metric_values
from ftcli.evaluation.pairing import Paired, pair_by_content
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.resampling import in_top5, resampled_metrics
from ftcli.records import Interval

SIGNIFICANCE = 0.05
FEWEST_FLIPS = 6
"""The fewest flips, all one way, that give p < SIGNIFICANCE: 2 * 0.5**6 = 0.031."""


@dataclass(frozen=True)
class Difference:
    """One metric of both runs, and B minus A with its 95 % interval."""

    a: float
    b: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Images that only one run has right, and the exact two-sided p-value of so uneven a split."""

    b_better: int
    a_better: int
    p_value: float

    @property
    def resolved(self) -> bool:
        """Whether the images tell the runs apart."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Flip:
    """An image that exactly one run has right: what each predicted, and how probable it held that to be."""

    path: str
    label: str
    a_predicted: str
    b_predicted: str
    a_probability: float
    b_probability: float


@dataclass(frozen=True)
class Comparison:
    """What the same images say about run B against run A.

    `only_a` and `only_b` count images that the other run has not scored, `repeats` rows that repeat an
    image's content and are not counted again. Flips are ordered by path.
    """

    names: tuple[str, str]
    images: int
    only_a: int
    only_b: int
    repeats: int
    metrics: Mapping[str, Difference]
    mcnemar: McNemar
    b_better: tuple[Flip, ...]
    a_better: tuple[Flip, ...]

    @property
    def resolution(self) -> str:
        """What so many images can resolve at all, as a sentence."""
        if self.images < FEWEST_FLIPS:
            return f"Fewer than {FEWEST_FLIPS} images cannot tell two runs apart at p < 0.05."
        return (
            f"On {self.images} images a paired test needs at least {FEWEST_FLIPS} one-way flips "
            f"({100 * FEWEST_FLIPS / self.images:.1f} points) for p < 0.05."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "images": self.images,
            "unmatched": {"a": self.only_a, "b": self.only_b},
            "repeats": self.repeats,
            "metrics": {name: asdict(difference) for name, difference in self.metrics.items()},
            "mcnemar": asdict(self.mcnemar),
            "flips": {
                "b_better": [asdict(flip) for flip in self.b_better],
                "a_better": [asdict(flip) for flip in self.a_better],
            },
            "resolution": self.resolution,
        }


def compare_predictions(
    a: Predictions,
    b: Predictions,
    *,
    names: tuple[str, str] = ("A", "B"),
    seed: int = 0,
    resamples: int = 1000,
) -> Comparison:
    """Compare two runs on the images that both scored, matched by content.

    Raises ComparisonError, with the runs' names, for other classes, no shared image or conflicting labels.
    """
    paired = pair_by_content(a, b, names=names)
    by_run = paired.a.correct, paired.b.correct
    gained, lost = by_run[1] & ~by_run[0], by_run[0] & ~by_run[1]
    return Comparison(
        names=names,
        images=len(paired.a),
        only_a=paired.only_a,
        only_b=paired.only_b,
        repeats=paired.repeats,
        metrics=_differences(paired, seed=seed, resamples=resamples),
        mcnemar=mcnemar(int(gained.sum()), int(lost.sum())),
        b_better=_flips(paired, gained),
        a_better=_flips(paired, lost),
    )


def mcnemar(b_better: int, a_better: int) -> McNemar:
    """Return McNemar's exact two-sided test of images that only one run has right."""
    from scipy.stats import binomtest

    flips = b_better + a_better
    p_value = float(binomtest(b_better, flips).pvalue) if flips else 1.0
    return McNemar(b_better, a_better, p_value)


def recipe_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what differs between two recipes: dotted key to {"a", "b"}, in the order of the keys.

    Sections are compared key by key, lists whole. A key that is absent counts as null.
    """
    changes: dict[str, dict[str, Any]] = {}
    for key in [*a, *(key for key in b if key not in a)]:
        one, other = a.get(key), b.get(key)
        if _is_section(one) and _is_section(other):
            nested = recipe_changes(one or {}, other or {})
            changes |= {f"{key}.{inner}": change for inner, change in nested.items()}
        elif one != other or isinstance(one, bool) != isinstance(other, bool):
            changes[str(key)] = {"a": one, "b": other}
    return changes


def _is_section(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _differences(paired: Paired, *, seed: int, resamples: int) -> dict[str, Difference]:
    """Return each metric's difference; both runs are resampled with the same images.

    Shares of images take the closed form that agrees with McNemar's test, and macro F1's interval is never
    narrower than balanced accuracy's.
    """
    values = metric_values(paired.a), metric_values(paired.b)
    drawn = resampled_metrics([paired.a, paired.b], seed=seed, resamples=resamples)
    gaps = {name: percentile(values[1][name] - values[0][name], drawn[1][name] - drawn[0][name]) for name in values[0]}
    labels = paired.a.labels
    everything = np.zeros_like(labels)
    correct = paired.a.correct, paired.b.correct
    gaps["accuracy"] = _paired_shares(correct, everything)
    gaps["balanced_accuracy"] = balanced = _paired_shares(correct, labels)
    gaps["macro_f1"] = at_least_as_wide(gaps["macro_f1"], balanced, bounds=(-1.0, 1.0))
    if "top5_accuracy" in gaps:
        gaps["top5_accuracy"] = _paired_shares((in_top5(paired.a), in_top5(paired.b)), everything)
    return {
        name: Difference(values[0][name], values[1][name], gap.value, gap.low, gap.high) for name, gap in gaps.items()
    }


def _paired_shares(successes: tuple[NDArray[np.bool_], NDArray[np.bool_]], strata: NDArray[np.int64]) -> Interval:
    """Return the difference of the shares of successes (N,), averaged over strata (N,) with images."""
    images = np.bincount(strata)
    gained = np.bincount(strata, weights=successes[1] & ~successes[0]).astype(np.int64)
    lost = np.bincount(strata, weights=successes[0] & ~successes[1]).astype(np.int64)
    present = images > 0
    return paired_difference(gained[present], lost[present], images[present])


def _flips(paired: Paired, chosen: NDArray[np.bool_]) -> tuple[Flip, ...]:
    """Return the chosen images (N,) as flips, ordered by path."""
    classes = paired.a.classes
    a_predicted, b_predicted = paired.a.predicted, paired.b.predicted
    flips = (
        Flip(
            paired.a.paths[image],
            classes[paired.a.labels[image]],
            classes[a_predicted[image]],
            classes[b_predicted[image]],
            float(paired.a.probabilities[image, a_predicted[image]]),
            float(paired.b.probabilities[image, b_predicted[image]]),
        )
        for image in np.flatnonzero(chosen)
    )
    return tuple(sorted(flips, key=lambda flip: flip.path))
