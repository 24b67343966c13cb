"""Simulated models: predictions with known true metrics, and pairs of runs that flip images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftcli.evaluation.predictions import Predictions

CLASSES = 3
FLIPS = 0.06
"""The share of images that two equal models flip in these simulations: 3 % each way."""


def calibrated_model(
    images: int, generator: np.random.Generator, labels: NDArray[np.int64] | None = None
) -> Predictions:
    """Return predictions of a perfectly calibrated model: posteriors of unit Gaussians, two apart."""
    if labels is None:
        labels = generator.integers(0, CLASSES, images)
    scores = generator.normal(size=(images, CLASSES))
    scores[np.arange(images), labels] += 2.0
    weights = np.exp(2 * (scores - scores.max(axis=1, keepdims=True)))
    names = tuple(map(str, range(images)))
    classes = tuple(f"class {number}" for number in range(CLASSES))
    return Predictions(classes, names, names, labels, weights / weights.sum(axis=1, keepdims=True))


def flips(images: int, drop: float, pairs: int, generator: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Return, for pairs of runs, the images that B gains and loses if its true accuracy is lower by `drop`."""
    each_way = FLIPS / 2
    drawn = generator.multinomial(images, [each_way, each_way + drop, 1 - FLIPS - drop], size=pairs)
    return drawn[:, 0], drawn[:, 1]


def seeds_of_one_recipe(
    images: int, seeds: int, generator: np.random.Generator, difficulty: NDArray[np.float64], spread: float
) -> list[Predictions]:
    """Return runs that are right on an image depending on its difficulty, the seed and noise.

    `spread` is the standard deviation of the seeds' luck, in units of that of the difficulty (N,).
    """
    luck = spread * generator.normal(size=(seeds, 1))
    right = difficulty + luck + 0.3 * generator.normal(size=(seeds, images)) > 0
    return [_two_classes(each) for each in right]


def _two_classes(right: NDArray[np.bool_]) -> Predictions:
    """Return predictions with alternating labels and a confidence of 90 %."""
    images = len(right)
    labels = np.arange(images, dtype=np.int64) % 2
    probabilities = np.full((images, 2), 0.1)
    probabilities[np.arange(images), np.where(right, labels, 1 - labels)] = 0.9
    names = tuple(map(str, range(images)))
    return Predictions(("a", "b"), names, names, labels, probabilities)
