"""The features of a run's images: made of their views by the frozen prefix, once, then read from the cache."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

import torch
from torch import Tensor

from ftcli.cache.collection import Collection, StoredFeatures
from ftcli.cache.key import CacheError, HalfPrecisionError, cache_directory
from ftcli.cache.shard import narrow, widen
from ftcli.cache.store import FeatureStore
from ftcli.data.loader import Batch, Images, Workers, load_views
from ftcli.data.transforms import Transform, view_seed
from ftcli.data.workers import default_workers
from ftcli.engine.device import Compute
from ftcli.engine.inference import to_input
from ftcli.model.prefix.cut import Cut, Features
from ftcli.model.prefix.fast import FastPrefix

PREPROCESSING_VERSION = 1
"""Raise it with any change of ftcli's own code that changes pixels or features: decoding, transforms, prefixes.

It is part of every collection's description, so that features of the old code are not used. A test compares the pixels
and features of a few images with those recorded for this number.
"""

STORED_DTYPE = torch.float16
"""The precision in which features of train are stored; float32 for all of them where one does not fit."""

VAL_STORED_DTYPE = torch.float32
"""The precision of val, so that its probabilities are those of the whole network, and of `eval`."""

EXTRACTION_BATCH = 32
"""Views pass the prefix in blocks of exactly this many: the last digits of features depend on the number."""

OnRows = Callable[[int, int], None]
"""Called with (views done, views to do), first with 0."""

_LIBRARIES = ("torch", "torchvision", "timm", "pillow")


@dataclass(frozen=True)
class DataSettings:
    """How a run's images reach the network: keys of the recipe's `data`, and its seed."""

    batch_size: int
    augment: str
    views: int | Literal["fresh"]
    cache: Literal["auto", "off"]
    workers: int | Literal["auto"]
    seed: int
    share_views: bool = True

    @property
    def views_seed(self) -> int | None:
        """The seed that fixed views depend on; None where all runs share them."""
        return None if self.share_views else self.seed

    @property
    def different_views(self) -> int:
        """How many fixed views of a training image differ; 1 where every epoch draws a new one."""
        return 1 if self.views == "fresh" or self.augment == "none" else self.views

    def views_of(self, epochs: range) -> tuple[int, ...]:
        """Return the fixed views that epochs use, in order; without augmentation all views are the same."""
        assert self.views != "fresh", "fresh views are not fixed"
        if self.augment == "none":
            return (0,)
        return tuple(sorted({epoch % self.views for epoch in epochs[: self.views]}))

    def workers_for(self, images: int) -> int:
        """Return how many processes decode so many images."""
        return default_workers(images) if self.workers == "auto" else self.workers


def view_name(sha256: str, view: int, views_seed: int | None = None) -> str:
    """Return the name of one view's features in the cache: a hash of the image's hash, the view's number and seed."""
    of_seed = "" if views_seed is None else f" {views_seed}"
    return hashlib.sha256(f"{sha256} {view}{of_seed}".encode()).hexdigest()


def describe(cut: Cut, transform: Transform, *, dtype: torch.dtype, compute: Compute) -> dict[str, Any]:
    """Return all that features depend on besides the images: prefix, preprocessing, precision and versions."""
    module = cut.network.module
    # Not its state_dict, which leaves out buffers that are not saved, such as the indices of relative positions.
    tensors = dict((*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)))
    weights = hashlib.sha256()
    for name in cut.reads:
        weights.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {
        "model": cut.network.name,
        "shapes": [list(shape) for shape in cut.row_shapes],
        "prefix": hashlib.sha256(cut.description.encode()).hexdigest(),
        "weights": weights.hexdigest(),
        "input": asdict(cut.network.spec),
        "transform": transform.name,
        "dtype": str(dtype).removeprefix("torch."),
        "device": compute.device.type,
        "precision": compute.precision,
        "preprocessing": PREPROCESSING_VERSION,
        "versions": {name: metadata.version(name) for name in _LIBRARIES},
    }


def row_bytes(cut: Cut, dtype: torch.dtype) -> int:
    """Return the size of the features of one view."""
    return sum(math.prod(shape) for shape in cut.row_shapes) * dtype.itemsize


def blocks(batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, int]]:
    """Yield images (N, 3, S, S) in blocks (EXTRACTION_BATCH, 3, S, S), each with how many count; copies fill the last.

    So an image has the same features, to the last bit, whichever other views are missing: after an extraction that was
    killed, or where other runs have stored some of the views. 70 images are blocks of 32, 32, and 6 with 26 copies.
    """
    rest: Tensor | None = None
    for batch in batches:
        images = batch if rest is None else torch.cat([rest, batch])
        rest = None
        for block in torch.split(images, EXTRACTION_BATCH):
            if len(block) < EXTRACTION_BATCH:
                rest = block
            else:
                yield block, len(block)
    if rest is not None:
        copies = rest[-1:].expand(EXTRACTION_BATCH - len(rest), *rest.shape[1:])
        yield torch.cat([rest, copies]), len(rest)


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Features of a batch, as they are stored: `indices` (N,) int64 into the images, each feature (N, ...)."""

    indices: Tensor
    features: Features


@dataclass(eq=False)
class Extraction:
    """Computes the features of train or of val in one phase, or reads them from the cache.

    `dtype` is how they are rounded, whether or not they are stored; it becomes float32 where float16 does not do.
    """

    cut: Cut
    prefix: FastPrefix
    transform: Transform
    compute: Compute
    dtype: torch.dtype
    views_seed: int | None = None

    def stored(
        self, images: Images, views: Sequence[int], *, workers: int | Workers, opened: ExitStack, on_rows: OnRows
    ) -> StoredFeatures:
        """Return stored features, having computed the missing ones: row `i * len(views) + v` is view v of image i.

        Their collection is open until `opened` is closed. Raises CacheError where the cache cannot hold them.
        """
        names = [view_name(sha256, view, self.views_seed) for sha256 in images.sha256s for view in views]
        try:
            collection = self._collection(names, opened)
            self._fill(collection, names, images, views, workers=workers, on_rows=on_rows)
        except HalfPrecisionError:
            self.dtype = torch.float32
            collection = self._collection(names, opened)
            self._fill(collection, names, images, views, workers=workers, on_rows=on_rows)
        return collection.open(names)

    def computed(self, batches: Iterable[Batch]) -> Iterator[FeatureBatch]:
        """Yield the features of batches of images, the same to the last bit as the cache would hold, on the device.

        Blocks of EXTRACTION_BATCH images pass the prefix, whatever the size of the batches: a block may hold images of
        two of them. A block in which a feature does not fit into `dtype` is float32. With batches of 20, the first
        comes after one block, the next two after the second.
        """
        waiting: deque[Tensor] = deque()

        def images() -> Iterator[Tensor]:
            for batch in batches:
                waiting.append(batch.indices)
                yield batch.images

        ready: Features | None = None
        for block, count in blocks(images()):
            features = self._prefix_of(block)
            try:
                rows = tuple(narrow(feature[:count], self.dtype) for feature in features)
            except HalfPrecisionError:
                rows = tuple(narrow(feature[:count], torch.float32) for feature in features)
            ready = rows if ready is None else tuple(map(torch.cat, zip(ready, rows, strict=True)))
            while waiting and len(waiting[0]) <= len(ready[0]):
                indices = waiting.popleft()
                yield FeatureBatch(indices, tuple(each[: len(indices)] for each in ready))
                ready = tuple(each[len(indices) :] for each in ready)

    def to_device(self, features: Features) -> Features:
        """Return features as the suffix takes them: on the device, widened, maps channels-last."""
        ready = [widen(self.compute.copy(feature)) for feature in features]
        return tuple(each.contiguous(memory_format=torch.channels_last) if each.ndim == 4 else each for each in ready)

    def _prefix_of(self, images: Tensor) -> Features:
        """Return what crosses the cut for uint8 images (N, 3, S, S), on the device."""
        with self.compute.autocast():
            return self.prefix(to_input(images, self.cut.network, self.compute))

    def _collection(self, names: Sequence[str], opened: ExitStack) -> Collection:
        """Open the collection of these features. Raises CacheError where the missing ones would not fit."""
        store = FeatureStore(cache_directory())
        description = describe(self.cut, self.transform, dtype=self.dtype, compute=self.compute)
        collection = opened.enter_context(store.collection(description))
        missing = len(collection.missing(names))
        shortage = store.would_fit(missing * row_bytes(self.cut, self.dtype)) if missing else None
        if shortage is not None:
            raise CacheError(shortage)
        return collection

    def _fill(
        self,
        collection: Collection,
        names: Sequence[str],
        images: Images,
        views: Sequence[int],
        *,
        workers: int | Workers,
        on_rows: OnRows,
    ) -> None:
        """Compute and store what is missing; each image is decoded once for all its missing views."""
        missing = collection.missing(names)
        if not missing:
            return
        on_rows(0, len(missing))
        seeds: dict[int, list[int]] = {}
        for row in missing:  # in order, so that views of one image come together
            image, view = row // len(views), views[row % len(views)]
            seeds.setdefault(image, []).append(view_seed(images.sha256s[image], view=view, seed=self.views_seed))
        batches = load_views(
            images,
            [(image, tuple(of_image)) for image, of_image in seeds.items()],
            transform=self.transform,
            batch_size=EXTRACTION_BATCH,
            workers=workers,
        )
        done = 0
        with collection.writer() as writer:
            for block, count in blocks(batch.images for batch in batches):
                features = [narrow(feature[:count], self.dtype).cpu() for feature in self._prefix_of(block)]
                rows = missing[done : done + count]
                writer.add([names[row] for row in rows], tuple(features))
                done += count
                on_rows(done, len(missing))
