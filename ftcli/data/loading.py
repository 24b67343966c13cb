"""Owns how images reach the training loop: in batches, in order, the same from any number of workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import torch

from ftcli.data.loader import Images
from ftcli.data.streams import Batch, Key, Stream
from ftcli.data.transforms import Transform
from ftcli.data.views import FixedViews, FreshViews, Views
from ftcli.data.workers import default_workers
from ftcli.rng import stable_seed

__all__ = [
    "Batch",
    "EvaluationLoader",
    "FixedViews",
    "FreshViews",
    "TrainingLoader",
    "Views",
    "batch_indices",
    "default_workers",
    "load_views",
]


def batch_indices(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut an order into batches; a last batch of one joins the batch before it.

    A training BatchNorm cannot use a batch of one. Nothing joins where one image a batch was asked for.
    """
    batches = [list(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1 < batch_size:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches


class _Loader:
    """Images that are loaded again and again; workers live until `close`."""

    def __init__(self, images: Images, *, transform: Transform, batch_size: int, workers: int) -> None:
        self._images = images
        self._batch_size = batch_size
        self._stream = Stream(images, transform, workers=workers)

    def close(self) -> None:
        """Stop the workers."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class TrainingLoader(_Loader):
    """Gives the training images of any epoch, shuffled by (seed, epoch); workers live until `close`.

    Only one iterator may be in use at a time; one that was left early may be dropped.
    """

    def __init__(self, images: Images, *, transform: Transform, batch_size: int, workers: int, seed: int) -> None:
        super().__init__(images, transform=transform, batch_size=batch_size, workers=workers)
        self._seed = seed

    def order(self, epoch: int) -> list[int]:
        """Return the order of an epoch: a permutation of the samples' indices."""
        generator = torch.Generator().manual_seed(stable_seed("order", self._seed, epoch))
        order: list[int] = torch.randperm(len(self._images), generator=generator).tolist()
        return order

    def epoch(self, epoch: int, views: Views) -> Iterator[Batch]:
        """Yield the batches of an epoch, each image once; raise ImageError as `Stream.batches` does."""
        batches = batch_indices(self.order(epoch), self._batch_size)
        return self._stream.batches(
            [(index, (views.seed_of(self._images.sha256s[index], epoch=epoch),)) for index in batch]
            for batch in batches
        )


class EvaluationLoader(_Loader):
    """Gives every image exactly once, in the order of the samples, each time it is iterated; until `close`."""

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self._images) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches; raise ImageError as `Stream.batches` does."""
        return self._stream.batches(
            [(index, (0,)) for index in range(start, min(start + self._batch_size, len(self._images)))]
            for start in range(0, len(self._images), self._batch_size)
        )


def load_views(
    images: Images, jobs: Sequence[Key], *, transform: Transform, batch_size: int, workers: int
) -> Iterator[Batch]:
    """Yield the wanted views of images, each image decoded once: a job is a sample's index and its views' seeds.

    Rows come in the order of the jobs and of their seeds; a batch holds about `batch_size` rows.
    """
    stream = Stream(images, transform, workers=workers)
    try:
        yield from stream.batches(_batches_of_rows(jobs, batch_size))
    finally:
        stream.close()


def _batches_of_rows(jobs: Sequence[Key], batch_size: int) -> Iterator[list[Key]]:
    batch: list[Key] = []
    rows = 0
    for job in jobs:
        batch.append(job)
        rows += len(job[1])
        if rows >= batch_size:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch
