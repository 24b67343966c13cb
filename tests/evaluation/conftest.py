from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ftcli.evaluation.predictions import Predictions


@pytest.fixture
def scored() -> Callable[..., Predictions]:
    """Predictions from labels and predicted classes, each held with the same confidence."""

    def build(
        labels: Sequence[int],
        predicted: Sequence[int],
        classes: tuple[str, ...] = ("ants", "bees"),
        *,
        confidence: float = 0.9,
        contents: Sequence[str] | None = None,
    ) -> Predictions:
        images, count = len(labels), len(classes)
        probabilities = np.full((images, count), (1 - confidence) / (count - 1))
        probabilities[np.arange(images), list(predicted)] = confidence
        return Predictions(
            classes,
            tuple(f"val/{classes[label]}/{image}.jpg" for image, label in enumerate(labels)),
            tuple(contents or (f"{image:064x}" for image in range(images))),
            np.array(labels, dtype=np.int64),
            probabilities,
        )

    return build


@pytest.fixture
def drawn() -> Callable[..., Predictions]:
    """Predictions of a random model: softmax of noise plus a push towards the label."""

    def build(
        images: int,
        classes: int,
        *,
        seed: int,
        sharpness: float = 2.0,
        labels: NDArray[np.int64] | None = None,
    ) -> Predictions:
        generator = np.random.default_rng(seed)
        if labels is None:
            labels = generator.integers(0, classes, images)
        scores: NDArray[np.float64] = generator.normal(size=(images, classes))
        # At a sharpness of 2 the model is perfectly calibrated: these are the posteriors of unit Gaussians.
        scores[np.arange(images), labels] += 2.0
        weights = np.exp(sharpness * (scores - scores.max(axis=1, keepdims=True)))
        names = tuple(f"class {number}" for number in range(classes))
        images_named = tuple(f"{image:06d}" for image in range(images))
        return Predictions(names, images_named, images_named, labels, weights / weights.sum(axis=1, keepdims=True))

    return build
