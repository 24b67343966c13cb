"""Two runs on the same images: what changed, and which differences so many images can resolve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ftcli.evaluation.compare.differences import (
    ClassDifference,
    Difference,
    Flip,
    class_differences,
    flips_of,
    metric_differences,
    share_differences,
)
from ftcli.evaluation.compare.pairing import Paired
from ftcli.evaluation.significance import SIGNIFICANCE, sign_test

FEWEST_FLIPS = 6
"""The fewest flips, all one way, that give p < SIGNIFICANCE: 2 * 0.5**6 = 0.031."""

POWER = 0.8
"""The probability with which a detectable difference is found."""


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
        """Whether the test finds the runs to differ."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """How run B does against run A on the same images.

    `only_a` and `only_b` count the images that the other run has not scored, `repeats` the rows that repeat an image's
    content and are not counted again. Flips are ordered by path. `equivalent_within` is the smallest
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
        """Which differences so many images can resolve, in words."""
        return resolution_text(self.images, self.mcnemar.flips)

    @property
    def detectable(self) -> float | None:
        """The true difference of accuracy that is found four times in five with so many flips, if there is one."""
        return detectable_difference(self.images, self.mcnemar.flips)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "images": self.images,
            "unmatched": {"a": self.only_a, "b": self.only_b},
            "repeats": self.repeats,
            "metrics": {name: asdict(difference) for name, difference in self.metrics.items()},
            "mcnemar": asdict(self.mcnemar),
            "per_class": [row.to_json() for row in self.per_class],
            "equivalent_within": self.equivalent_within,
            "detectable": self.detectable,
            "flips": {
                "b_better": [asdict(flip) for flip in self.b_better],
                "a_better": [asdict(flip) for flip in self.a_better],
            },
            "resolution": self.resolution,
        }


def compare_paired(paired: Paired, *, names: tuple[str, str], seed: int = 0, resamples: int = 1000) -> Comparison:
    """Compare two runs whose images have been matched."""
    a, b = paired.a.correct, paired.b.correct
    ninety = share_differences(paired, confidence=1 - 2 * SIGNIFICANCE)["accuracy"]
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


def detectable_difference(images: int, flips: int) -> float | None:
    """Return the true difference of accuracy that McNemar's test finds with a probability of POWER.

    For runs that flip as many images as these do (Connor 1987, doi:10.2307/2531961, solved for the difference). None
    where so few flips cannot show one, whichever way they go.
    """
    from scipy.special import ndtri

    if flips < FEWEST_FLIPS:
        return None
    share = flips / images
    found, reached = float(ndtri(1 - SIGNIFICANCE / 2)), float(ndtri(POWER))
    half = found * math.sqrt(images * share)
    root = half**2 - (images + reached**2) * (found**2 - reached**2) * share
    difference = (half + math.sqrt(root)) / (images + reached**2)
    return difference if difference <= share else None


def resolution_text(images: int, flips: int) -> str:
    """Return in words which differences can be resolved with so many images and flips."""
    if images < FEWEST_FLIPS:
        return f"Fewer than {FEWEST_FLIPS} images cannot tell two runs apart at p < {SIGNIFICANCE}."
    text = (
        f"On {images} images a paired test needs at least {FEWEST_FLIPS} one-way flips "
        f"({100 * FEWEST_FLIPS / images:.1f} points) for p < {SIGNIFICANCE}"
    )
    detectable = detectable_difference(images, flips)
    if detectable is None:
        return f"{text}."
    return (
        f"{text}; where {100 * flips / images:.1f} % of them flip, as here, it finds a true difference of "
        f"{100 * detectable:.1f} points four times in five."
    )
