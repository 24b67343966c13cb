"""Owns one collection: the entries of all images under one prefix, one preprocessing and one set of views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ftcli.cache.errors import CacheError, reported
from ftcli.cache.features import Features, open_features
from ftcli.cache.leases import Lease, locked
from ftcli.cache.shard import (
    PATTERN,
    DamagedShardError,
    Keys,
    Shard,
    find,
    keys_of,
    read,
    signature_of,
    to_bytes,
    write,
)
from ftcli.cache.space import Room, collection_bytes
from ftcli.cache.writing import SHARD_BYTES, Writer
from ftcli.data.workers import available_cores

MOST_THREADS = 8
"""More threads than this seldom read a disk faster."""


class Collection:
    """The entries of one key; a context manager during which nobody removes them. Made by FeatureStore.

    Names are the SHA-256 of the images' bytes, in hexadecimal. Every method raises CacheError when the cache cannot be
    used; the caller can go on without it. `damaged` counts the shards that were found broken, and were not used.
    """

    def __init__(self, path: Path, *, room: Room, lease: Lease, on_close: Callable[[Path], None]) -> None:
        self.path = path
        self.damaged = 0
        self._room = room
        self._lease = lease
        self._on_close = on_close
        self._shards: dict[str, Shard] = {}
        self._rejected: set[str] = set()

    @property
    def size_bytes(self) -> int:
        """How much of the disk the collection has."""
        with reported("read", self.path):
            return collection_bytes(self.path)

    def missing(self, names: Sequence[str]) -> list[int]:
        """Return the positions, in order, of names that are not stored; of one that repeats, its first."""
        self._refresh()
        keys, first = np.unique(keys_of(names), return_index=True)
        positions: list[int] = np.sort(first[find(keys, self._keys()) < 0]).tolist()
        return positions

    def writer(self, *, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> Writer:
        """Return what adds entries, stored as `dtype`: float16 or float32."""
        return Writer(self._store, dtype=dtype, shard_bytes=shard_bytes)

    def open(self, names: Sequence[str], *, memory_limit_bytes: int | None = None) -> Features:
        """Return the features of these images, which may repeat; up to the limit they are loaded into memory."""
        self._refresh()
        features = open_features(list(self._shards.values()), keys_of(names), memory_limit_bytes=memory_limit_bytes)
        if features is None:
            raise CacheError(f"{len(self.missing(names))} of {len(names)} images are not stored", where=str(self.path))
        return features

    def close(self) -> None:
        """Allow others to remove the collection; features that are open stay readable."""
        self._on_close(self.path)
        self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _store(self, names: Sequence[str], tensors: tuple[Tensor, ...]) -> None:
        """Write a shard of those entries that no other process has stored meanwhile: the first one counts."""
        with locked(self._room.directory), reported("write", self.path):
            self._refresh()
            self._check_likeness(tensors)
            new = np.flatnonzero(find(keys_of(names), self._keys()) < 0).tolist()
            if not new:
                return
            if len(new) < len(names):
                tensors = tuple(tensor[new] for tensor in tensors)
            content = to_bytes([names[position] for position in new], tensors)
            self._room.make(len(content))
            write(content, self._lease.temporary())

    def _check_likeness(self, tensors: tuple[Tensor, ...]) -> None:
        likeness = signature_of([tensor[0] for tensor in tensors])
        if any(shard.signature != likeness for shard in self._shards.values()):
            raise CacheError("the features that are stored have other shapes or another dtype", where=str(self.path))

    def _keys(self) -> Keys:
        keys = [shard.keys for shard in self._shards.values()]
        return np.concatenate(keys) if keys else keys_of([])

    def _refresh(self) -> None:
        """Read the shards that are new; remove those that are damaged, so that their images are missing."""
        with reported("read", self.path):
            names = {path.name for path in self.path.iterdir() if PATTERN.fullmatch(path.name)}
        paths = [self.path / name for name in sorted(names - self._shards.keys() - self._rejected)]
        if not paths:
            return
        with ThreadPoolExecutor(min(len(paths), available_cores(), MOST_THREADS)) as pool:
            for path, result in zip(paths, pool.map(_read, paths), strict=True):
                if isinstance(result, Shard):
                    self._shards[path.name] = result
                else:
                    self._reject(path, result)

    def _reject(self, path: Path, error: DamagedShardError | OSError) -> None:
        self._rejected.add(path.name)
        if isinstance(error, FileNotFoundError):  # another process was faster to remove it
            return
        self.damaged += 1
        if isinstance(error, DamagedShardError):
            with suppress(OSError):  # left where it is, it is not used either
                path.unlink(missing_ok=True)


def _read(path: Path) -> Shard | DamagedShardError | OSError:
    try:
        return read(path)
    except (DamagedShardError, OSError) as error:
        return error
