"""Owns the stored features of a run's images: the prefix that makes them, what is stored, and computing the rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor

from ftcli.cache.encoding import encode
from ftcli.cache.errors import CacheError, HalfPrecisionError
from ftcli.cache.features import Features
from ftcli.cache.key import cache_directory
from ftcli.cache.store import FeatureStore
from ftcli.data.loader import Images
from ftcli.engine.extraction import Wanted, blocks, describe, fill, row_bytes
from ftcli.engine.setting import Preprocessing, Setting, load
from ftcli.engine.sources import to_input
from ftcli.model.prefix.cut import Cut
from ftcli.model.prefix.fast import FastPrefix


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
