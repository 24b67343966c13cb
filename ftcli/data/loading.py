"""Owns how images reach the training loop: in batches, in order, the same from any number of workers."""

from __future__ import annotations

import math
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ftcli.data.class_folders import Sample
from ftcli.data.cores import default_workers
from ftcli.data.decoding import decode
from ftcli.data.transforms import Transform, draw
from ftcli.data.views import FixedViews, FreshViews, Views, view_seed
from ftcli.errors import ImageError
from ftcli.seeds import stable_seed

__all__ = [
    "Batch",
    "EvaluationLoader",
    "FixedViews",
    "FreshViews",
    "TrainingLoader",
    "Views",
    "batch_indices",
    "default_workers",
]

_Key = tuple[int, tuple[int, ...]]
"""What a worker is asked for: the index of a sample, and the seed of each view of it."""

_Item = tuple[_Key, Tensor, int] | ImageError


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with their labels; the images' memory is in channels-last order.

    `indices` (N,) int64 into the samples, `images` (N, 3, S, S) uint8, `labels` (N,) int64.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor


def batch_indices(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut an order into batches; a last batch of one joins the batch before it.

    A training BatchNorm cannot use a batch of one. Nothing joins where one image a batch was asked for.
    """
    batches = [list(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1 < batch_size:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches


class TrainingLoader:
    """Gives the training images of any epoch, shuffled by (seed, epoch); workers live until `close`.

    Only one iterator may be in use at a time; one that was left early may be dropped.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        sha256s: Sequence[str],
        *,
        transform: Transform,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        assert len(samples) == len(sha256s), "every sample has its hash"
        self._sha256s = tuple(sha256s)
        self._batch_size = batch_size
        self._seed = seed
        self._stream = _Stream(samples, transform, workers=workers)

    def order(self, epoch: int) -> list[int]:
        """Return the order of an epoch: a permutation of the samples' indices."""
        generator = torch.Generator().manual_seed(stable_seed("order", self._seed, epoch))
        order: list[int] = torch.randperm(len(self._sha256s), generator=generator).tolist()
        return order

    def epoch(self, epoch: int, views: Views) -> Iterator[Batch]:
        """Yield the batches of an epoch, each image once; raise ImageError for one that cannot be decoded."""
        batches = batch_indices(self.order(epoch), self._batch_size)
        return self._stream.batches(
            [(index, (views.seed_of(self._sha256s[index], epoch=epoch),)) for index in batch] for batch in batches
        )

    def all_views(self, count: int) -> Iterator[Batch]:
        """Yield every image in the order of the samples with its first `count` views, decoded once.

        Rows are grouped by image, views in order; a batch holds about `batch_size` rows, at least one image.
        """
        images = max(self._batch_size // count, 1)
        return self._stream.batches(
            [
                (index, tuple(view_seed(self._sha256s[index], view=view) for view in range(count)))
                for index in range(start, min(start + images, len(self._sha256s)))
            ]
            for start in range(0, len(self._sha256s), images)
        )

    def close(self) -> None:
        """Stop the workers."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class EvaluationLoader:
    """Gives every image exactly once, in the order of the samples, each time it is iterated; until `close`."""

    def __init__(self, samples: Sequence[Sample], *, transform: Transform, batch_size: int, workers: int) -> None:
        self._images = len(samples)
        self._batch_size = batch_size
        self._stream = _Stream(samples, transform, workers=workers)

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(self._images / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches; raise ImageError for an image that cannot be decoded."""
        return self._stream.batches(
            [(index, (0,)) for index in range(start, min(start + self._batch_size, self._images))]
            for start in range(0, self._images, self._batch_size)
        )

    def close(self) -> None:
        """Stop the workers."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Stream:
    """A torch DataLoader whose workers are told what to read key by key, and so need not know of epochs."""

    def __init__(self, samples: Sequence[Sample], transform: Transform, *, workers: int) -> None:
        self._keys = _Keys()
        with _without_advice():
            self._loader: DataLoader[_Item] | None = DataLoader(
                _Images(samples, transform),
                batch_sampler=self._keys,
                num_workers=workers,
                collate_fn=_collate,
                worker_init_fn=_start_worker if workers else None,
                persistent_workers=workers > 0,
                # The loader draws a number per epoch, which must not move the global generator.
                generator=torch.Generator().manual_seed(0),
            )

    def batches(self, keys: Iterable[list[_Key]]) -> Iterator[Batch]:
        assert self._loader is not None, "the loader was closed"
        self._keys.batches = keys
        with _without_advice():
            results = iter(self._loader)
        for result in results:
            if isinstance(result, ImageError):
                raise result
            yield result

    def close(self) -> None:
        self._loader = None


class _Keys:
    """The batch sampler: whatever batches were put here last."""

    batches: Iterable[list[_Key]] = ()

    def __iter__(self) -> Iterator[list[_Key]]:
        return iter(self.batches)


class _Images(Dataset[_Item]):
    """Decodes and transforms in the workers; hands over an ImageError as a value, for the main process to raise."""

    def __init__(self, samples: Sequence[Sample], transform: Transform) -> None:
        self._paths = [str(sample.path) for sample in samples]
        self._labels = [sample.label for sample in samples]
        self._transform = transform

    def __getitem__(self, key: _Key) -> _Item:
        index, seeds = key
        try:
            image = decode(Path(self._paths[index]), minimum_side=self._transform.minimum_side)
        except ImageError as error:
            return error
        # Stacked as (H, W, 3), which is how the pixels lie in memory.
        views = torch.stack([draw(self._transform, image, seed).permute(1, 2, 0) for seed in seeds])
        return key, views, self._labels[index]


def _collate(items: Sequence[_Item]) -> Batch | ImageError:
    good: list[tuple[_Key, Tensor, int]] = []
    for item in items:
        if isinstance(item, ImageError):
            return item
        good.append(item)
    repeats = [len(seeds) for (_, seeds), _, _ in good]
    return Batch(
        indices=torch.tensor([key[0] for key, _, _ in good]).repeat_interleave(torch.tensor(repeats)),
        images=torch.cat([views for _, views, _ in good]).permute(0, 3, 1, 2),
        labels=torch.tensor([label for _, _, label in good]).repeat_interleave(torch.tensor(repeats)),
    )


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group; the main process decides, saves, and stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _without_advice() -> warnings.catch_warnings[None]:
    """Silence torch's advice on the number of workers: the number was chosen."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
