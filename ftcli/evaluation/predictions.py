"""Owns predictions: the scored images of one run, which every metric and comparison is computed from.

Owns how many of the images that are scored a network has met before, which makes its figures too good.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

ROW_SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from 1: well beyond what half precision and rounding do."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """N scored images and C classes, in one order throughout.

    `paths` are posix paths relative to the dataset's root, `sha256` the hashes of the files' content,
    `labels` (N,) indices into `classes`, and `probabilities` (N, C) with rows that sum to 1.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        images, classes = len(self.paths), len(self.classes)
        assert classes >= 2, "a classifier has at least two classes"
        assert len(set(self.classes)) == classes, "class names must differ"
        assert len(self.sha256) == images, "one hash per image"
        assert self.labels.shape == (images,), "one label per image"
        assert self.labels.dtype == np.int64, "labels are int64"
        assert self.probabilities.shape == (images, classes), "one probability per image and class"
        assert self.probabilities.dtype == np.float64, "probabilities are float64"
        assert ((self.labels >= 0) & (self.labels < classes)).all(), "labels are indices into classes"
        # Also refuses NaN, which compares false with everything.
        assert (self.probabilities >= 0).all(), "probabilities are not negative"
        off = np.abs(self.probabilities.sum(axis=1) - 1)
        assert (off <= ROW_SUM_TOLERANCE).all(), "probabilities of one image sum to 1"

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image (N,); of equal ones, the first."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image's most probable class is its label (N,)."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct

    @property
    def normalized(self) -> NDArray[np.float64]:
        """The probabilities (N, C) with rounding taken out: rows sum to 1 as exactly as float64 can."""
        sums: NDArray[np.float64] = self.probabilities.sum(axis=1, keepdims=True)
        return self.probabilities / sums


@dataclass(frozen=True)
class Seen:
    """How many of `images` the network was trained on, and how many chose its best epoch; None where nobody knows."""

    images: int
    trained_on: int | None
    chose_epoch: int | None

    def to_json(self) -> dict[str, int | None]:
        """Return the counts as plain data."""
        return {name: count for name, count in asdict(self).items() if name != "images"}


def count_among(known: Collection[str] | None, sha256: Sequence[str]) -> int | None:
    """Return how many images have a content that is known; None where none is listed."""
    return None if known is None else sum(each in known for each in sha256)
