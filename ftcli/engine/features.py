"""Owns computing features once: what the frozen prefix makes of each view of each image, kept in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftcli.cache.store import Collection, Features
from ftcli.data.loading import Batch, ViewLoader

Prefix = Callable[[Tensor], tuple[Tensor, ...]]
"""From uint8 images (N, 3, S, S) to what crosses the cut, on the CPU, as it is stored."""


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Features of a batch with their labels: `indices` (N,) int64, `labels` (N,) int64, each feature (N, ...)."""

    indices: Tensor
    labels: Tensor
    features: tuple[Tensor, ...]


@dataclass(frozen=True)
class Wanted:
    """The views of images that a phase needs: image `index` of the samples in each of `views`."""

    sha256s: tuple[str, ...]
    views: tuple[int, ...]

    def name(self, index: int, view: int) -> str:
        """Return the name under which the features of a view are stored."""
        return f"{self.sha256s[index]}-{view}"

    @property
    def names(self) -> list[str]:
        """The names of all views of the first image, then those of the second, and so on."""
        return [self.name(index, view) for index in range(len(self.sha256s)) for view in self.views]


def row_bytes(row_shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> int:
    """Return the bytes that one view of one image takes."""
    return sum(math.prod(shape) for shape in row_shapes) * dtype.itemsize


def fill(
    collection: Collection,
    wanted: Wanted,
    *,
    load: Callable[[Sequence[tuple[int, tuple[int, ...]]]], ViewLoader],
    prefix: Prefix,
    on_batch: Callable[[int, int], None] | None,
) -> int:
    """Compute and store the features that are not there yet; return how many views were computed.

    Each image is decoded once for all its missing views. `on_batch` hears of (views done, views in all).
    """
    views = len(wanted.views)
    missing: dict[int, list[int]] = {}
    for position in collection.missing(wanted.names):
        missing.setdefault(position // views, []).append(wanted.views[position % views])
    if not missing:
        return 0
    jobs = [(index, tuple(of_image)) for index, of_image in missing.items()]
    total, done = sum(len(of_image) for _, of_image in jobs), 0
    with load(jobs) as loader, collection.writer() as writer:
        names = (wanted.name(index, view) for index, of_image in jobs for view in of_image)
        for batch in loader:
            features = prefix(batch.images)
            for row in range(len(batch.labels)):
                writer.add(next(names), tuple(feature[row] for feature in features))
            done += len(batch.labels)
            if on_batch is not None:
                on_batch(done, total)
    return total
