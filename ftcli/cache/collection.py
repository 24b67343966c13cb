"""Owns one collection: the entries of all images under one prefix, one preprocessing and one set of views.

Owns adding to a collection: entries are gathered into shards, and each shard appears whole or not at all.

Owns reading features by image and view: from memory where they are few, else from the mapped files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.cache.key import CacheError, reported
from ftcli.cache.shard import (
    PATTERN,
    DamagedShardError,
    Keys,
    Shard,
    Signature,
    encode,
    find,
    keys_of,
    read,
    signature_of,
    to_bytes,
    write,
)
from ftcli.cache.space import Lease, Room, collection_bytes, locked
from ftcli.data.workers import available_cores

MOST_THREADS = 8
"""More threads than this seldom read a disk faster."""


SHARD_BYTES = 64 * 10**6
"""How much an extraction that is killed loses at most, and keeps in memory."""


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


Store = Callable[[Sequence[str], tuple[Tensor, ...]], None]
"""Stores the entries of names (n,), tensors each (n, views, ...); raises CacheError."""


class Writer:
    """Adds entries to a collection; a context manager that stores the last of them when it ends.

    When it ends with an error, what was added before it is stored still. After a CacheError nothing more may be added.
    """

    def __init__(self, store: Store, *, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> None:
        self._store = store
        self._dtype = dtype
        self._shard_bytes = shard_bytes
        self._names: dict[str, None] = {}
        self._buffers: tuple[Tensor, ...] = ()
        self._signature: Signature = ()

    def add(self, name: str, tensors: Sequence[Tensor]) -> None:
        """Add all that one image has: tensors (views, ...) in the memory of the CPU, all with as many views.

        A name that was added before is left alone. Raises HalfPrecisionError when a value does not fit, and CacheError
        when the entry is unlike those before it or cannot be stored.
        """
        if name in self._names:
            return
        entry = [encode(tensor.detach(), self._dtype) for tensor in tensors]
        self._expect(signature_of(entry))
        for buffer, tensor in zip(self._buffers, entry, strict=True):
            buffer[len(self._names)] = tensor
        self._names[name] = None
        if len(self._names) == len(self._buffers[0]):
            self.flush()

    def flush(self) -> None:
        """Store what was added. Raises CacheError when it cannot be; it is forgotten then."""
        names, self._names = list(self._names), {}
        if names:
            self._store(names, tuple(buffer[: len(names)] for buffer in self._buffers))

    def _expect(self, signature: Signature) -> None:
        if not self._buffers:
            self._signature = signature
            size = sum(torch.Size(shape).numel() * dtype.itemsize for dtype, shape in signature)
            images = max(self._shard_bytes // max(size, 1), 1)
            self._buffers = tuple(torch.empty((images, *shape), dtype=dtype) for dtype, shape in signature)
        if signature != self._signature:
            raise CacheError(f"an image's features are {_text(signature)}, those before are {_text(self._signature)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.flush()
        elif not isinstance(error, CacheError):
            with suppress(CacheError):  # the error that is already on its way says more
                self.flush()


def _text(signature: Signature) -> str:
    return ", ".join(f"{str(dtype).removeprefix('torch.')} {shape}" for dtype, shape in signature)


MEMORY_LIMIT_BYTES = 2**30
"""Features up to this size are loaded when they are opened, if they take no more than MEMORY_SHARE of the memory."""

MEMORY_SHARE = 1 / 8

Positions = NDArray[np.int64]

_Block = tuple[Tensor, ...]
"""The tensors of one shard, or of all that was loaded; rows lie along the first dimension."""


class Features:
    """The stored features of a fixed list of images; bitwise the same from memory and from the files.

    `views` is how many each image has; `in_memory` says where they are.
    """

    def __init__(self, blocks: Sequence[_Block], block_of: Positions, entry_of: Positions, *, in_memory: bool) -> None:
        """Take blocks of (n, views, ...) tensors, and for each image (N,) its block and its place in there."""
        self.views = blocks[0][0].shape[1]
        self.in_memory = in_memory
        self._blocks = [tuple(tensor.flatten(0, 1) for tensor in block) for block in blocks]
        self._block_of = block_of
        self._entry_of = entry_of

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._entry_of)

    def rows(self, positions: Positions, view: int) -> tuple[Tensor, ...]:
        """Return copies of the tensors (n, ...) of one view of the images at these positions, dtype as stored."""
        assert 0 <= view < self.views, "a view that is stored"
        assert positions.min(initial=0) >= 0, "positions count from the first image"
        rows = self._entry_of[positions] * self.views + view
        return _gather(self._blocks, self._block_of[positions], rows)


def open_features(shards: Sequence[Shard], wanted: Keys, *, memory_limit_bytes: int | None = None) -> Features | None:
    """Return the features of the images with these keys (N,), which may repeat; None if one is in no shard."""
    limit = default_memory_limit() if memory_limit_bytes is None else memory_limit_bytes
    keys, image_of = np.unique(wanted, return_inverse=True)
    found = find(keys, np.concatenate([shard.keys for shard in shards])) if shards else np.full(1, -1)
    if not len(found) or found.min() < 0:
        return None
    ends = np.cumsum([len(shard.keys) for shard in shards])
    block_of = np.searchsorted(ends, found, side="right").astype(np.int64)
    entry_of = found - (ends - [len(shard.keys) for shard in shards])[block_of]
    blocks = [shard.tensors for shard in shards]
    in_memory = len(keys) * entry_bytes(blocks[0]) <= limit
    if in_memory:
        # In the order of the files, which is the fastest way through them.
        order = np.lexsort((entry_of, block_of))
        blocks = [_gather(blocks, block_of[order], entry_of[order])]
        block_of, entry_of = np.zeros_like(block_of), np.argsort(order)
    return Features(blocks, block_of[image_of], entry_of[image_of], in_memory=in_memory)


def entry_bytes(block: _Block) -> int:
    """Return the size of all views and all tensors of one image."""
    return sum(tensor[0].numel() * tensor.element_size() for tensor in block)


def default_memory_limit() -> int:
    """Return up to which size features are loaded into memory on this machine."""
    if not hasattr(os, "sysconf"):
        return MEMORY_LIMIT_BYTES
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MEMORY_LIMIT_BYTES, int(MEMORY_SHARE * physical))


def _gather(blocks: Sequence[_Block], block_of: Positions, row_of: Positions) -> _Block:
    """Return row `row_of[i]` of block `block_of[i]` as row i of each tensor.

    By numpy, in one thread: copying rows gains little from more, and torch's threads wait for each other on busy cores.
    """
    if len(blocks) == 1:
        return tuple(torch.from_numpy(np.take(tensor.numpy(), row_of, axis=0)) for tensor in blocks[0])
    results = tuple(tensor.new_empty((len(row_of), *tensor.shape[1:])) for tensor in blocks[0])
    for number in np.unique(block_of):
        targets = np.flatnonzero(block_of == number)
        rows = row_of[targets]
        for result, tensor in zip(results, blocks[number], strict=True):
            result.numpy()[targets] = tensor.numpy()[rows]
    return results
