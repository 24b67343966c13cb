"""Owns computing features once: what the frozen prefix makes of the views of images, kept in the cache."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import torch
from torch import Tensor

from ftcli.cache.collection import Collection
from ftcli.data.streams import Batch, Key
from ftcli.data.views import view_seed
from ftcli.engine.device import Compute
from ftcli.model.prefix.cut import Cut
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
_CODE = ("ftcli.data.decoding", "ftcli.data.transforms", "ftcli.data.views", "ftcli.model.prefix.fast", __name__)


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
