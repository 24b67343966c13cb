"""Owns computing features once: what the frozen prefix makes of the views of images, kept in the cache.

Owns the stored features of a run's images: the prefix that makes them, what is stored, and computing the rest.

Owns what all phases of a run share: the network, the images of each split, their preprocessing, and who hears.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import torch
from torch import Tensor

from ftcli.cache.collection import Collection, Features
from ftcli.cache.key import CacheError, HalfPrecisionError, cache_directory
from ftcli.cache.shard import encode
from ftcli.cache.store import FeatureStore
from ftcli.data.loader import Batch, Images, Key, load_views
from ftcli.data.transforms import Transform, view_seed
from ftcli.data.workers import default_workers
from ftcli.engine.device import Compute
from ftcli.engine.sources import to_input
from ftcli.model.network import Network
from ftcli.model.prefix.cut import Cut
from ftcli.model.prefix.fast import FastPrefix
from ftcli.plan import Phase
from ftcli.recipe.keys import DataSection

STORED_DTYPE = torch.float16
"""What features of train are stored in; where one does not fit into it, float32 for all."""

VAL_STORED_DTYPE = torch.float32
"""What features of val are stored in, so that its probabilities are those of the whole network, and of `eval`."""


EXTRACTION_BATCH = 32
"""Views that pass the prefix together: always so many, since the last digits of features depend on how many do."""


class Prefix(Protocol):
    """From uint8 images (N, 3, S, S) to what crosses the cut, in the memory of the CPU, as `dtype`."""

    dtype: torch.dtype

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor (N, ...) for each that crosses."""


_VERSIONS = ("torch", "torchvision", "timm", "pillow")
_CODE = ("ftcli.data.decoding", "ftcli.data.transforms", "ftcli.data.transforms", "ftcli.model.prefix.fast", __name__)


@dataclass(frozen=True)
class Wanted:
    """The views of images that a phase needs: each of `views` of every image, by the content of the images."""

    sha256s: tuple[str, ...]
    views: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """The names of the views of the first image, then of the second, and so on."""
        return [view_name(sha256, view) for sha256 in self.sha256s for view in self.views]

    def __len__(self) -> int:
        """Return the number of views of all images."""
        return len(self.sha256s) * len(self.views)


def view_name(sha256: str, view: int) -> str:
    """Return the name under which the cache keeps the features of one view: a hash again."""
    return hashlib.sha256(f"{sha256} {view}".encode()).hexdigest()


def describe(cut: Cut, transform: str, *, dtype: torch.dtype, compute: Compute) -> dict[str, Any]:
    """Return all that features depend on besides the images: prefix, preprocessing, precision, code and versions."""
    tensors = cut.network.module.state_dict()
    weights = hashlib.sha256()
    for name in cut.reads:
        weights.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    code = "".join(inspect.getsource(importlib.import_module(name)) for name in _CODE)
    return {
        "model": cut.network.name,
        "shapes": [list(shape) for shape in cut.row_shapes],
        "prefix": hashlib.sha256(cut.description.encode()).hexdigest(),
        "weights": weights.hexdigest(),
        "input": cut.network.spec.to_json(),
        "transform": transform,
        "dtype": str(dtype).removeprefix("torch."),
        "device": compute.device.type,
        "precision": compute.precision,
        "code": hashlib.sha256(code.encode()).hexdigest(),
        "versions": {name: metadata.version(name) for name in _VERSIONS},
    }


def views_of_epochs(section: DataSection, epochs: range) -> tuple[int, ...]:
    """Return the fixed views that these epochs use, in order; without augmentation all are the same one."""
    assert section.views != "fresh", "fresh views are not fixed"
    if section.augment == "none":
        return (0,)
    return tuple(sorted({epoch % section.views for epoch in epochs[: section.views]}))


def fixed_views(section: DataSection) -> int:
    """Return how many fixed views of a training image differ; 1 where every epoch draws a new one."""
    return 1 if section.views == "fresh" or section.augment == "none" else section.views


def epochs_shown(phase: Phase, section: DataSection, *, first_epoch: int) -> range:
    """Return the epochs whose views a phase learns from: its own, or for L-BFGS as many as there are views."""
    return range(fixed_views(section)) if phase.solver == "lbfgs" else range(first_epoch, first_epoch + phase.epochs)


def row_bytes(cut: Cut, dtype: torch.dtype) -> int:
    """Return the bytes that the features of one view of one image take."""
    return sum(math.prod(shape) for shape in cut.row_shapes) * dtype.itemsize


def fill(
    collection: Collection,
    wanted: Wanted,
    *,
    load: Callable[[Sequence[Key]], Iterator[Batch]],
    prefix: Prefix,
    on_rows: Callable[[int, int], None] | None,
) -> None:
    """Compute and store the features that are not there yet, each image decoded once for all its missing views.

    `on_rows` hears of (views done, views to do), also before the first.
    """
    missing = _missing(collection, wanted)
    total, done = sum(len(views) for _, views in missing), 0
    if not missing:
        return
    if on_rows is not None:
        on_rows(done, total)
    names = (view_name(wanted.sha256s[index], view) for index, views in missing for view in views)
    jobs = [(i, tuple(view_seed(wanted.sha256s[i], view=view) for view in views)) for i, views in missing]
    with collection.writer(dtype=prefix.dtype) as writer:
        for images, rows in blocks(batch.images for batch in load(jobs)):
            features = prefix(images)
            for row in range(rows):
                writer.add(next(names), tuple(feature[row : row + 1] for feature in features))
            done += rows
            if on_rows is not None:
                on_rows(done, total)


def blocks(batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, int]]:
    """Yield images (N, 3, S, S) in blocks (EXTRACTION_BATCH, 3, S, S), each with how many count; copies fill the last.

    So an image has the same features, to the last bit, whatever is missing beside it: after an extraction that was
    killed, or where other runs have stored some of the views.
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


def _missing(collection: Collection, wanted: Wanted) -> list[tuple[int, tuple[int, ...]]]:
    """Return the images whose features are missing, each with the views that are."""
    views = len(wanted.views)
    of_image: dict[int, list[int]] = {}
    for position in collection.missing(wanted.names):
        of_image.setdefault(position // views, []).append(wanted.views[position % views])
    return [(index, tuple(missing)) for index, missing in of_image.items()]


class StoringPrefix:
    """The frozen part of a cut from uint8 images to features as they are stored, in the memory of the CPU.

    Raises HalfPrecisionError when a value does not fit into `dtype`.
    """

    def __init__(self, forward: FastPrefix, setting: Setting, *, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.forward = forward
        self._setting = setting

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what crosses the cut for images (N, 3, S, S)."""
        return self._encoded(images, self.dtype)

    def widening(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the same; where a value does not fit, those of this batch are float32.

        It remembers nothing of other batches, so that a resumed run sees what an uninterrupted one saw.
        """
        try:
            return self._encoded(images, self.dtype)
        except HalfPrecisionError:
            return self._encoded(images, torch.float32)

    def in_blocks(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the same as it would be stored, to the last bit, since as many images pass together."""
        parts = [[each[:rows] for each in self.widening(block)] for block, rows in blocks([images])]
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))

    def _encoded(self, images: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        with self._setting.compute.autocast():
            features = self.forward(to_input(images, self._setting.network, self._setting.compute))
            return tuple(encode(feature, dtype).cpu() for feature in features)


class Storage:
    """The stored features of a run's images, open until `opened` is closed; `tell` hears why there are none."""

    def __init__(self, setting: Setting, opened: ExitStack, *, tell: Callable[[str], None]) -> None:
        self._setting = setting
        self._opened = opened
        self._tell = tell

    def features(
        self, cut: Cut, prefix: StoringPrefix, images: Images, views: tuple[int, ...], how: Preprocessing
    ) -> Features | None:
        """Return the features of views of images, computing what is missing; None, having said why, without a cache."""
        if self._setting.section.cache == "off":
            return None
        wanted = Wanted(images.sha256s, views)
        try:
            try:
                return self._stored(cut, prefix, images, wanted, how)
            except HalfPrecisionError:
                prefix.dtype = torch.float32
                return self._stored(cut, prefix, images, wanted, how)
        except CacheError as error:
            self._tell(f"features are computed in every epoch, since the cache cannot keep them: {error}")
            return None

    def _stored(self, cut: Cut, prefix: StoringPrefix, images: Images, wanted: Wanted, how: Preprocessing) -> Features:
        setting = self._setting
        description = describe(cut, how.name, dtype=prefix.dtype, compute=setting.compute)
        store = FeatureStore(cache_directory())
        collection = self._opened.enter_context(store.collection(description))
        missing = len(collection.missing(wanted.names))
        shortage = store.would_fit(missing * row_bytes(cut, prefix.dtype)) if missing else None
        if shortage is not None:
            raise CacheError(shortage)
        fill(
            collection,
            wanted,
            load=lambda jobs: load(images, how, jobs, workers=setting.workers(len(jobs))),
            prefix=prefix,
            on_rows=setting.listeners.rows,
        )
        return collection.open(wanted.names)


@dataclass(frozen=True)
class Listeners:
    """Who hears of what happens: sentences, and (views done, views to do) while features are computed."""

    notice: Callable[[str], None]
    rows: Callable[[int, int], None] | None = None


@dataclass(frozen=True, eq=False)
class Setting:
    """What all phases of a run share."""

    network: Network
    section: DataSection
    seed: int
    compute: Compute
    listeners: Listeners

    def workers(self, images: int) -> int:
        """Return how many processes decode so many images."""
        return default_workers(images) if self.section.workers == "auto" else self.section.workers


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A transform and what the cache calls it."""

    transform: Transform
    name: str


def load(images: Images, how: Preprocessing, jobs: Sequence[Key], *, workers: int) -> Iterator[Batch]:
    """Yield the views of images that `jobs` name, preprocessed, in batches."""
    return load_views(images, jobs, transform=how.transform, batch_size=EXTRACTION_BATCH, workers=workers)
