"""Owns the statistics of two runs on the same images: what changed, and whether the images can resolve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ftcli.evaluation.compare.differences import (
    ClassDifference,
    Difference,
    accuracy_difference,
    class_differences,
    metric_differences,
)
from ftcli.evaluation.compare.pairing import Paired, pair_by_content
from ftcli.evaluation.flips import Flip, flips_of
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.resolution import detectable_difference, resolution_sentence
from ftcli.evaluation.significance import SIGNIFICANCE, sign_test


@dataclass(frozen=True)
class McNemar:
    """Images that only one run has right, and the exact two-sided p-value of so uneven a split."""

    b_better: int
    a_better: int
    p_value: float

    @property
    def flips(self) -> int:
        """The images that exactly one run has right."""
        return self.b_better + self.a_better

    @property
    def resolved(self) -> bool:
        """Whether the images tell the runs apart."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """What the same images say about run B against run A.

    `only_a` and `only_b` count images that the other run has not scored, `repeats` rows that repeat an
    image's content and are not counted again. Flips are ordered by path. `equivalent_within` is the smallest
    margin on the accuracy within which two one-sided tests at 5 % hold the runs to be equivalent (Schuirmann
    1987, doi:10.1007/BF01068419): the end of the 90 % interval that is farther from zero.
    """

    names: tuple[str, str]
    images: int
    only_a: int
    only_b: int
    repeats: int
    metrics: Mapping[str, Difference]
    mcnemar: McNemar
    per_class: tuple[ClassDifference, ...]
    equivalent_within: float
    b_better: tuple[Flip, ...]
    a_better: tuple[Flip, ...]

    @property
    def resolution(self) -> str:
        """What so many images can resolve at all, as a sentence."""
        return resolution_sentence(self.images, self.mcnemar.flips)

    @property
    def detectable(self) -> float | None:
        """The true difference of accuracy that runs with so many flips show four times in five; None: none."""
        return detectable_difference(self.images, self.mcnemar.flips)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "images": self.images,
            "unmatched": {"a": self.only_a, "b": self.only_b},
            "repeats": self.repeats,
            "metrics": {name: asdict(difference) for name, difference in self.metrics.items()},
            "mcnemar": asdict(self.mcnemar),
            "per_class": [asdict(row) for row in self.per_class],
            "equivalent_within": self.equivalent_within,
            "detectable": self.detectable,
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
    return compare_paired(pair_by_content(a, b, names=names), names=names, seed=seed, resamples=resamples)


def compare_paired(paired: Paired, *, names: tuple[str, str], seed: int = 0, resamples: int = 1000) -> Comparison:
    """Compare two runs whose images have been matched."""
    a, b = paired.a.correct, paired.b.correct
    ninety = accuracy_difference(paired, confidence=1 - 2 * SIGNIFICANCE)
    return Comparison(
        names=names,
        images=len(paired.a),
        only_a=paired.only_a,
        only_b=paired.only_b,
        repeats=paired.repeats,
        metrics=metric_differences(paired, seed=seed, resamples=resamples),
        mcnemar=mcnemar(int((b & ~a).sum()), int((a & ~b).sum())),
        per_class=class_differences(paired),
        equivalent_within=max(-ninety.low, ninety.high),
        b_better=flips_of(paired, b & ~a),
        a_better=flips_of(paired, a & ~b),
    )


def mcnemar(b_better: int, a_better: int) -> McNemar:
    """Return McNemar's exact two-sided test of images that only one run has right."""
    return McNemar(b_better, a_better, float(sign_test(np.array(b_better), np.array(a_better))))
