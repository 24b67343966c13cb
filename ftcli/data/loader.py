"""Owns the images of one split as they are loaded: labelled, and known by the hashes of their contents.

Owns the worker processes: images read key by key, batches in order, and errors handed over as values.

Owns how images reach the training loop: in batches, in order, the same from any number of workers.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ftcli.data.class_folders import Sample
from ftcli.data.decoding import decode, read_content
from ftcli.data.transforms import FixedViews, FreshViews, Transform, Views, draw
from ftcli.data.workers import default_workers
from ftcli.errors import ImageError, dead_worker
from ftcli.rng import stable_seed


@dataclass(frozen=True, eq=False)
class Images:
    """The labelled images of one split, with the hashes of their contents."""

    samples: Sequence[Sample]
    sha256s: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a mistake of ours."""
        assert len(self.samples) == len(self.sha256s), "every sample has its hash"

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.samples)

    @cached_property
    def labels(self) -> Tensor:
        """The labels (N,) int64."""
        return torch.tensor([sample.label for sample in self.samples])

    @property
    def together(self) -> tuple[str, ...]:
        """What each image shares with those that are held out with it: its group, or else its content."""
        return tuple(sample.cluster or sha256 for sample, sha256 in zip(self.samples, self.sha256s, strict=True))


Key = tuple[int, tuple[int, ...]]
"""What a worker is asked for: the index of a sample, and the seed of each view of it."""

_Item = tuple[Key, Tensor, int] | ImageError


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with their labels; the images' memory is in channels-last order.

    `indices` (N,) int64 into the samples, `images` (N, 3, S, S) uint8, `labels` (N,) int64.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor


class Stream:
    """A torch DataLoader whose workers are told what to read key by key, and so need not know of epochs."""

    def __init__(self, images: Images, transform: Transform, *, workers: int) -> None:
        self._keys = _Keys()
        with _without_advice():
            self._loader: DataLoader[_Item] | None = DataLoader(
                _Decoding(images, transform),
                batch_sampler=self._keys,
                num_workers=workers,
                collate_fn=_collate,
                worker_init_fn=_start_worker if workers else None,
                persistent_workers=workers > 0,
                # The loader draws a number per epoch, which must not move the global generator.
                generator=torch.Generator().manual_seed(0),
            )

    def batches(self, keys: Iterable[list[Key]]) -> Iterator[Batch]:
        """Yield a batch for each list of keys, in order.

        Raises ImageError for an image that cannot be decoded or is no longer the one that has the hash.
        """
        assert self._loader is not None, "the loader was closed"
        self._keys.batches = keys
        with _without_advice():
            results = iter(self._loader)
        try:
            for result in results:
                if isinstance(result, ImageError):
                    raise result
                yield result
        except (OSError, EOFError) as error:  # of the pipe to a worker: what files do is an ImageError
            raise dead_worker() from error

    def close(self) -> None:
        """Stop the workers."""
        self._loader = None


class _Keys:
    """The batch sampler: whatever batches were put here last."""

    batches: Iterable[list[Key]] = ()

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


class _Decoding(Dataset[_Item]):
    """Decodes and transforms in the workers; hands over an ImageError as a value, for the main process to raise."""

    def __init__(self, images: Images, transform: Transform) -> None:
        self._sha256s = images.sha256s
        self._paths = [str(sample.path) for sample in images.samples]
        self._labels = [sample.label for sample in images.samples]
        self._transform = transform

    def __getitem__(self, key: Key) -> _Item:
        index, seeds = key
        try:
            content = self._content(index)
            image = decode(content, minimum_side=self._transform.minimum_side, name=self._paths[index])
        except ImageError as error:
            return error
        # Stacked as (H, W, 3), which is how the pixels lie in memory.
        views = torch.stack([draw(self._transform, image, seed).permute(1, 2, 0) for seed in seeds])
        return key, views, self._labels[index]

    def _content(self, index: int) -> bytes:
        """Read an image, which all that is stored and said of it knows by its hash."""
        content = read_content(Path(self._paths[index]))
        if hashlib.sha256(content).hexdigest() != self._sha256s[index]:
            raise ImageError(
                "the file was changed since it was checked",
                where=self._paths[index],
                hint="Bring it back as it was, or begin anew, and let nothing change the images meanwhile.",
            )
        return content


def _collate(items: Sequence[_Item]) -> Batch | ImageError:
    good: list[tuple[Key, Tensor, int]] = []
    for item in items:
        if isinstance(item, ImageError):
            return item
        good.append(item)
    repeats = [len(seeds) for (_, seeds), _, _ in good]
    batch = Batch(
        indices=torch.tensor([key[0] for key, _, _ in good]).repeat_interleave(torch.tensor(repeats)),
        images=torch.cat([views for _, views, _ in good]).permute(0, 3, 1, 2),
        labels=torch.tensor([label for _, _, label in good]).repeat_interleave(torch.tensor(repeats)),
    )
    if get_worker_info() is not None:
        # Where there is no shared memory for it, this is an error; later, torch would drop the batch and wait for ever.
        for tensor in (batch.indices, batch.images, batch.labels):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    return batch


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group; the main process decides, saves, and stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # So may SIGTERM, by which the main process ends workers, too: they go, but as no failure that torch would tell of.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _without_advice() -> warnings.catch_warnings[None]:
    """Silence torch's advice on the number of workers: the number was chosen."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


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
