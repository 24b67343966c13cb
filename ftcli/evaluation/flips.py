"""Owns flips: the images that exactly one of two runs has right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.compare.pairing import Paired


@dataclass(frozen=True)
class Flip:
    """An image that exactly one run has right: what each predicted, and how probable it held that to be."""

    path: str
    label: str
    a_predicted: str
    b_predicted: str
    a_probability: float
    b_probability: float


def flips_of(paired: Paired, chosen: NDArray[np.bool_]) -> tuple[Flip, ...]:
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
