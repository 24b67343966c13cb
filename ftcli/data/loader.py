"""Images on their way to the network: decoded by worker processes, in batches whose order no worker changes."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ftcli.data.class_folders import Sample
from ftcli.data.decoding import decode, read_content
from ftcli.data.transforms import Transform, Views, draw
from ftcli.errors import ImageError, dead_worker
from ftcli.rng import stable_seed

Wanted = tuple[int, tuple[int, ...]]
"""What a loader is asked for: the index of an image, and the seed of each wanted view of it."""


@dataclass(frozen=True, eq=False)
class Images:
    """Image files, known by the hashes of their contents; `labels` (N,) int64 where they have any.

    Images with the same entry in `clusters` show the same thing, and are held out together.
    """

    paths: tuple[Path, ...]
    sha256s: tuple[str, ...]
    labels: Tensor | None = None
    clusters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.paths) == len(self.sha256s), "every image has its hash"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @classmethod
    def labelled(cls, samples: Sequence[Sample], sha256s: Sequence[str]) -> Images:
        """Return the images of samples; copies of an image are one cluster where nothing else is known."""
        return cls(
            paths=tuple(sample.path for sample in samples),
            sha256s=tuple(sha256s),
            labels=torch.tensor([sample.label for sample in samples]),
            clusters=tuple(sample.cluster or sha256 for sample, sha256 in zip(samples, sha256s, strict=True)),
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Views of images: `indices` (N,) int64 into the images, and `images` (N, 3, S, S) uint8, channels-last."""

    indices: Tensor
    images: Tensor


def batch_indices(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut an order into as few batches of at most `batch_size` as will do, their sizes differing by one at most.

    In a last batch of two, an image would weigh as much as sixteen others, in the gradient and in BatchNorm's
    statistics. A training BatchNorm cannot use a batch of one: with a batch size of two, an odd image joins another
    batch. 226 images at 32 are two batches of 29 and six of 28.
    """
    count = math.ceil(len(order) / batch_size)
    if batch_size > 1:
        count = min(count, max(len(order) // 2, 1))
    return [batch.tolist() for batch in np.array_split(np.asarray(order, dtype=np.int64), count)] if order else []


def training_order(images: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order of the training images in an epoch: a permutation of their indices."""
    generator = torch.Generator().manual_seed(stable_seed("order", seed, epoch))
    order: list[int] = torch.randperm(images, generator=generator).tolist()
    return order


def load_views(
    images: Images, wanted: Sequence[Wanted], *, transform: Transform, batch_size: int, workers: int | Workers
) -> Iterator[Batch]:
    """Yield the wanted views, each image decoded once; a batch holds about `batch_size` views.

    Views come in the order in which they are wanted. Raises ImageError as `Loader.batches` does.
    """

    def batches() -> Iterator[list[Wanted]]:
        batch: list[Wanted] = []
        views = 0
        for image in wanted:
            batch.append(image)
            views += len(image[1])
            if views >= batch_size:
                yield batch
                batch, views = [], 0
        if batch:
            yield batch

    with Loader(images, transform=transform, batch_size=batch_size, workers=workers) as loader:
        yield from loader.batches(batches())


class Workers:
    """Processes that decode and transform images for any number of loaders; a context that ends them.

    They start when they are first asked, best before the first forward pass, whose freed memory they would copy. Only
    one iterator may be in use at a time; one that was left early may be dropped. With a `count` of 0 this process does
    the work.
    """

    def __init__(self, count: int) -> None:
        self._sampler = _Sampler()
        with _without_advice():
            self._loader: DataLoader[_Item] | None = DataLoader(
                Decoder(),
                batch_sampler=self._sampler,
                num_workers=count,
                collate_fn=_collate,
                worker_init_fn=_start_worker if count else None,
                persistent_workers=count > 0,
                # The loader draws a number per epoch, which must not move the global generator.
                generator=torch.Generator().manual_seed(0),
            )

    def batches(self, requests: Iterable[list[Request]]) -> Iterator[Batch]:
        """Yield a batch for each list of requests, in order. Raises ImageError."""
        assert self._loader is not None, "the workers were stopped"
        self._sampler.batches = requests
        with _without_advice():
            results = iter(self._loader)
        try:
            for result in results:
                if isinstance(result, ImageError):
                    raise result
                yield result
        except (OSError, EOFError) as error:  # of the pipe to a worker; errors of files are ImageErrors
            raise dead_worker() from error

    def close(self) -> None:
        """Stop the processes."""
        self._loader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Loader:
    """Loads images again and again, with so many workers of its own or with those of other loaders.

    Its own workers live until `close`.
    """

    def __init__(self, images: Images, *, transform: Transform, batch_size: int, workers: int | Workers) -> None:
        self._images = images
        self._transform = transform
        self._batch_size = batch_size
        self._own = None if isinstance(workers, Workers) else Workers(workers)
        self._workers = workers if isinstance(workers, Workers) else self._own

    def epoch(self, epoch: int, views: Views, *, seed: int) -> Iterator[Batch]:
        """Yield each image once, shuffled by (seed, epoch); raise ImageError as `batches` does."""
        order = training_order(len(self._images), seed=seed, epoch=epoch)
        sha256s = self._images.sha256s
        return self.batches(
            [(index, (views.seed_of(sha256s[index], epoch=epoch),)) for index in batch]
            for batch in batch_indices(order, self._batch_size)
        )

    def in_order(self) -> Iterator[Batch]:
        """Yield each image once, in order, for a transform without randomness; raise ImageError as `batches` does."""
        batches = batch_indices(range(len(self._images)), self._batch_size)
        return self.batches([(index, (0,)) for index in batch] for batch in batches)

    def batches(self, wanted: Iterable[list[Wanted]]) -> Iterator[Batch]:
        """Yield a batch for each list of wanted images, in order.

        Raises ImageError for an image that cannot be decoded, or whose content no longer has its hash.
        """
        assert self._workers is not None, "a loader has workers"
        return self._workers.batches([self._request(*image) for image in batch] for batch in wanted)

    def close(self) -> None:
        """Stop the workers, unless other loaders share them."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _request(self, index: int, seeds: tuple[int, ...]) -> Request:
        return index, str(self._images.paths[index]), self._images.sha256s[index], seeds, self._transform


class _Sampler:
    """The batch sampler of torch's DataLoader: it yields whatever batches were assigned last.

    So persistent workers are asked for images one by one, and need not know about epochs.
    """

    batches: Iterable[list[Request]] = ()

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self.batches)


Request = tuple[int, str, str, tuple[int, ...], Transform]
"""All that a worker needs for one image: index, path and SHA-256, the seed of each wanted view, and the transform.

So a worker holds no list of images, which it would copy page by page, and serves every split and phase of a run.
"""

_Item = tuple[Wanted, Tensor] | ImageError


class Decoder(Dataset[_Item]):
    """Decodes and transforms in the workers; returns an ImageError as a value, for the main process to raise."""

    def __getitem__(self, request: Request) -> _Item:
        """Return the wanted views (n, H, W, 3): the order in which pixels lie in memory."""
        index, path, sha256, seeds, transform = request
        try:
            image = decode(_unchanged(path, sha256), minimum_side=transform.minimum_side, name=path)
        except ImageError as error:
            return error
        return (index, seeds), torch.stack([draw(transform, image, seed).permute(1, 2, 0) for seed in seeds])


def _unchanged(path: str, sha256: str) -> bytes:
    """Read an image, and check that it still has the hash under which its features are stored."""
    content = read_content(Path(path))
    if hashlib.sha256(content).hexdigest() != sha256:
        hint = "Restore the file, or start a new run and leave the images unchanged while it trains."
        raise ImageError("the file was changed since it was checked", where=path, hint=hint)
    return content


def _collate(items: Sequence[_Item]) -> Batch | ImageError:
    indices: list[int] = []
    views: list[Tensor] = []
    for item in items:
        if isinstance(item, ImageError):
            return item
        (index, seeds), of_image = item
        indices += [index] * len(seeds)
        views.append(of_image)
    batch = Batch(torch.tensor(indices), torch.cat(views).permute(0, 3, 1, 2))
    if get_worker_info() is not None:
        # Too little shared memory is an error here; later, torch would drop the batch and wait forever.
        for tensor in (batch.indices, batch.images):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    return batch


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole process group: the main process decides, saves, and stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The main process stops workers by SIGTERM, too; without this, torch would report that as a failure.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _without_advice() -> warnings.catch_warnings[None]:
    """Silence torch's advice on the number of workers, which was chosen."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
