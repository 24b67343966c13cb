"""Predictions: the scored images of one run, from which every metric and comparison is computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ftcli.errors import DatasetError

if TYPE_CHECKING:
    from ftcli.data.inspection import ImageFacts

ROW_SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from 1: well beyond what half precision and rounding do."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """N scored images and C classes, in one order throughout.

    `paths` are posix paths relative to the dataset's root and `sha256` the hashes of the files' content. `given_labels`
    (N,) are indices into `classes`, None for images without labels. `probabilities` (N, C) has rows that sum to 1.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    given_labels: NDArray[np.int64] | None
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        images, classes = len(self.paths), len(self.classes)
        assert classes >= 2, "a classifier has at least two classes"
        assert len(set(self.classes)) == classes, "class names must differ"
        assert len(self.sha256) == images, "one hash per image"
        if (labels := self.given_labels) is not None:
            assert labels.shape == (images,), "one label per image"
            assert labels.dtype == np.int64, "labels are int64"
            assert ((labels >= 0) & (labels < classes)).all(), "labels are indices into classes"
        assert self.probabilities.shape == (images, classes), "one probability per image and class"
        assert self.probabilities.dtype == np.float64, "probabilities are float64"
        # Also refuses NaN, which compares false with everything.
        assert (self.probabilities >= 0).all(), "probabilities are not negative"
        off = np.abs(self.probabilities.sum(axis=1) - 1)
        assert (off <= ROW_SUM_TOLERANCE).all(), "probabilities of one image sum to 1"

    @classmethod
    def of(
        cls,
        classes: tuple[str, ...],
        facts: Sequence[ImageFacts],
        labels: Sequence[int] | NDArray[np.int64] | None,
        probabilities: NDArray[np.float64],
    ) -> Predictions:
        """Return the predictions of images whose files have been read, in their order."""
        return cls(
            classes,
            tuple(fact.name for fact in facts),
            tuple(fact.sha256 for fact in facts),
            None if labels is None else np.asarray(labels, dtype=np.int64),
            probabilities,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, chosen: Sequence[int] | NDArray[np.int64]) -> Predictions:
        """Return the predictions of some images, in the order of their positions."""
        rows = [int(row) for row in chosen]
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            sha256=tuple(self.sha256[row] for row in rows),
            given_labels=None if self.given_labels is None else self.given_labels[rows],
            probabilities=self.probabilities[rows],
        )

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels (N,), for what cannot do without. Raises DatasetError where the images have none."""
        if self.given_labels is None:
            raise DatasetError(
                "these images have no labels, so their predictions cannot be judged",
                hint="Put each image into the folder of its class.",
            )
        return self.given_labels

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image (N,); of equal ones, the first."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image's most probable class is its label (N,)."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct

    @cached_property
    def in_top5(self) -> NDArray[np.bool_]:
        """Whether each image's label is one of its five most probable classes (N,); of equal ones, the first."""
        labels = self.labels[:, None]
        own = np.take_along_axis(self.probabilities, labels, axis=1)
        earlier = np.arange(len(self.classes)) < labels
        ahead: NDArray[np.int64] = ((self.probabilities > own) | ((self.probabilities == own) & earlier)).sum(axis=1)
        return ahead < 5

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of each image's most probable class (N,), of rows that sum to 1 exactly."""
        confidence: NDArray[np.float64] = self.probabilities.max(axis=1) / self._sums
        return confidence

    @cached_property
    def likelihoods(self) -> NDArray[np.float64]:
        """The probability of each image's label (N,), of rows that sum to 1 exactly."""
        likelihoods: NDArray[np.float64] = self.probabilities[np.arange(len(self)), self.labels] / self._sums
        return likelihoods

    @cached_property
    def _sums(self) -> NDArray[np.float64]:
        """What the rows of probabilities sum to (N,): 1 but for rounding."""
        sums: NDArray[np.float64] = self.probabilities.sum(axis=1)
        return sums


@dataclass(frozen=True)
class Seen:
    """How many of `images` the network was trained on, and how many chose its best epoch; None where it is unknown.

    `earlier` counts those that earlier runs were trained on, whose weights it began with. `unlisted` is the file of
    weights at the beginning of which that is not known.
    """

    images: int
    trained_on: int | None
    chose_epoch: int | None
    earlier: int = 0
    unlisted: str | None = None


def count_among(known: Collection[str] | None, sha256: Sequence[str]) -> int | None:
    """Return how many images have a content that is known; None where none is listed."""
    return None if known is None else sum(each in known for each in sha256)
