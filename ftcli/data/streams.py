"""Owns the worker processes: images read key by key, batches in order, and errors handed over as values."""

from __future__ import annotations

import hashlib
import os
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ftcli.data.decoding import decode, read_content
from ftcli.data.loader import Images
from ftcli.data.transforms import Transform, draw
from ftcli.errors import ImageError
from ftcli.failures import dead_worker

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
