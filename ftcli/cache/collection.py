"""One collection of the cache: the features of views under one prefix, one preprocessing and one precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.cache.key import DESCRIPTION, CacheError, reported
from ftcli.cache.shard import (
    PATTERN,
    DamagedShardError,
    Index,
    Shard,
    Signature,
    keys_of,
    map_shard,
    read,
    signature_of,
    to_bytes,
    write,
)
from ftcli.cache.space import Lease, Room, locked
from ftcli.data.workers import available_cores

SHARD_BYTES = 64 * 10**6
"""The size of a full shard: what a killed extraction loses at most, and what it keeps in memory."""

MEMORY_LIMIT_BYTES = 2**30
"""Features up to this size are loaded into memory, if they take no more than MEMORY_SHARE of it."""

MEMORY_SHARE = 1 / 8

_MOST_THREADS = 8
"""More threads than this seldom read a disk faster."""

Positions = NDArray[np.int64]
Tensors = tuple[Tensor, ...]
"""The tensors of one shard, or of all that was loaded: entries lie along the first dimension."""


class Collection:
    """The entries of one description: each holds the features of one view. Made by FeatureStore.

    A context manager: no process removes a collection while it is open. Entries are named by 64 hexadecimal digits.
    Every method raises CacheError when the cache cannot be used; training is possible without it. `rejected` are the
    files of shards that are damaged or cannot be read; they are never used.
    """

    def __init__(self, path: Path, *, room: Room, lease: Lease, is_use: bool) -> None:
        self.path = path
        self.rejected: set[str] = set()
        self._room = room
        self._lease = lease
        self._is_use = is_use
        self._shards: dict[str, Shard] = {}
        self._index = Index()

    def missing(self, names: Sequence[str]) -> list[int]:
        """Return the positions, in order, of names that are not stored; of a repeated name, the first."""
        self._refresh()
        keys, first = np.unique(keys_of(names), return_index=True)
        positions: list[int] = np.sort(first[self._index.find(keys) < 0]).tolist()
        return positions

    def writer(self, *, shard_bytes: int = SHARD_BYTES) -> Writer:
        """Return a context manager that adds entries."""
        return Writer(self.store, shard_bytes=shard_bytes)

    def store(self, names: Sequence[str], tensors: Tensors) -> None:
        """Write a shard of tensors (n, ...), without the entries that another process has stored meanwhile."""
        with locked(self._room.directory), reported("write", self.path):
            self._refresh()
            signature = signature_of(tensors)
            if any(signature_of(shard.tensors) != signature for shard in self._shards.values()):
                raise CacheError("the stored features have other shapes or another dtype", where=str(self.path))
            new = np.flatnonzero(self._index.find(keys_of(names)) < 0).tolist()
            if not new:
                return
            if len(new) < len(names):
                tensors = tuple(tensor[new] for tensor in tensors)
            content = to_bytes([names[position] for position in new], tensors)
            self._room.make(len(content))
            path = write(content, self._lease.temporary())
            # Its bytes are those of its checksum: no need to read them. If mapping fails, the next refresh tries again.
            with suppress(DamagedShardError, OSError):
                self._shards[path.name] = map_shard(path)
                self._index.add(self._shards[path.name].keys)

    def open(self, names: Sequence[str], *, memory_limit_bytes: int | None = None) -> StoredFeatures:
        """Return the features with these names, which may repeat; up to the limit they are loaded into memory."""
        self._refresh()
        limit = _default_memory_limit() if memory_limit_bytes is None else memory_limit_bytes
        keys, row_of = np.unique(keys_of(names), return_inverse=True)
        found = self._index.find(keys)
        if not len(found) or found.min() < 0:
            missing = int((found < 0).sum())
            raise CacheError(f"{missing} of {len(names)} views are not stored", where=str(self.path))
        # `found` counts through all shards: with 3 and 5 entries, number 4 is entry 1 of block 1.
        lengths = np.array([len(shard.keys) for shard in self._shards.values()])
        ends = np.cumsum(lengths)
        block_of = np.searchsorted(ends, found, side="right").astype(np.int64)
        entry_of = found - (ends - lengths)[block_of]
        blocks = [shard.tensors for shard in self._shards.values()]
        if len(keys) * sum(tensor[0].numel() * tensor.element_size() for tensor in blocks[0]) <= limit:
            # Read in the order of the files, the fastest way through them, into one block.
            order = np.lexsort((entry_of, block_of))
            blocks = [_gather(blocks, block_of[order], entry_of[order])]
            block_of, entry_of = np.zeros_like(block_of), np.argsort(order)
        return StoredFeatures(blocks, block_of[row_of], entry_of[row_of])

    def close(self) -> None:
        """Allow the removal of the collection; features that are open stay readable."""
        if self._is_use:
            with suppress(OSError):  # the directory was deleted
                os.utime(self.path / DESCRIPTION)
        self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _refresh(self) -> None:
        """Map the shards that are new; remove damaged ones, so that their entries are missing."""
        with reported("read", self.path):
            names = {path.name for path in self.path.iterdir() if PATTERN.fullmatch(path.name)}
        paths = [self.path / name for name in sorted(names - self._shards.keys() - self.rejected)]
        if not paths:
            return
        with ThreadPoolExecutor(min(len(paths), available_cores(), _MOST_THREADS)) as pool:
            new: list[Shard] = []
            for path, result in zip(paths, pool.map(_read, paths), strict=True):
                if isinstance(result, Shard):
                    self._shards[path.name] = result
                    new.append(result)
                elif not isinstance(result, FileNotFoundError):  # another process has removed it
                    self.rejected.add(path.name)
                    if isinstance(result, DamagedShardError):
                        with suppress(OSError):  # it is not used, even if it stays
                            path.unlink(missing_ok=True)
        if new:
            self._index.add(np.concatenate([shard.keys for shard in new]))


class Writer:
    """Gathers entries into shards; a context manager that stores the last ones when it ends.

    After an error, what was added before it is still stored. After a CacheError nothing more may be added.
    """

    def __init__(self, store: Callable[[Sequence[str], Tensors], None], *, shard_bytes: int) -> None:
        self._store = store
        self._shard_bytes = shard_bytes
        self._names: dict[str, None] = {}
        self._buffers: Tensors = ()
        self._signature: Signature = ()

    def add(self, names: Sequence[str], tensors: Tensors) -> None:
        """Copy the entries of some names: tensors (n, ...) in the memory of the CPU. A name added before is skipped.

        Raises CacheError when the entries differ in shape or dtype from those before, or cannot be stored.
        """
        signature = signature_of(tensors)
        if not self._buffers:
            self._signature = signature
            size = sum(torch.Size(shape).numel() * dtype.itemsize for dtype, shape in signature)
            entries = max(self._shard_bytes // max(size, 1), 1)
            self._buffers = tuple(torch.empty((entries, *shape), dtype=dtype) for dtype, shape in signature)
        if signature != self._signature:
            raise CacheError(f"the features of a view are {_text(signature)}, those before {_text(self._signature)}")
        for row, name in enumerate(names):
            if name in self._names:
                continue
            for buffer, tensor in zip(self._buffers, tensors, strict=True):
                buffer[len(self._names)] = tensor[row]
            self._names[name] = None
            if len(self._names) == len(self._buffers[0]):
                self.flush()

    def flush(self) -> None:
        """Store what was added. Raises CacheError, and forgets it, when it cannot be stored."""
        names, self._names = list(self._names), {}
        if names:
            self._store(names, tuple(buffer[: len(names)] for buffer in self._buffers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self.flush()
        elif not isinstance(error, CacheError):
            with suppress(CacheError):  # the first error says more
                self.flush()


class StoredFeatures:
    """A fixed list of features, in memory or in the mapped files; both give the same bits."""

    def __init__(self, blocks: Sequence[Tensors], block_of: Positions, entry_of: Positions) -> None:
        """Take blocks of tensors (n, ...), and for each row (N,) its block and its entry in there."""
        self._blocks = blocks
        self._block_of = block_of
        self._entry_of = entry_of

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._entry_of)

    def rows(self, positions: Positions) -> Tensors:
        """Return copies of the tensors (n, ...) at these positions, dtype as stored."""
        assert positions.min(initial=0) >= 0, "positions count from the first row"
        return _gather(self._blocks, self._block_of[positions], self._entry_of[positions])


def _read(path: Path) -> Shard | DamagedShardError | OSError:
    try:
        return read(path)
    except (DamagedShardError, OSError) as error:
        return error


def _text(signature: Signature) -> str:
    return ", ".join(f"{str(dtype).removeprefix('torch.')} {shape}" for dtype, shape in signature)


def _default_memory_limit() -> int:
    """Return up to which size features are loaded into memory on this machine."""
    if not hasattr(os, "sysconf"):
        return MEMORY_LIMIT_BYTES
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MEMORY_LIMIT_BYTES, int(MEMORY_SHARE * physical))


def _gather(blocks: Sequence[Tensors], block_of: Positions, entry_of: Positions) -> Tensors:
    """Return entry `entry_of[i]` of block `block_of[i]` as row i of each tensor.

    By numpy, in one thread: copying rows gains little from more, and torch's threads wait for each other on busy cores.
    """
    if len(blocks) == 1:
        return tuple(torch.from_numpy(np.take(tensor.numpy(), entry_of, axis=0)) for tensor in blocks[0])
    results = tuple(tensor.new_empty((len(entry_of), *tensor.shape[1:])) for tensor in blocks[0])
    for number in np.unique(block_of):
        rows = np.flatnonzero(block_of == number)
        for result, tensor in zip(results, blocks[number], strict=True):
            result.numpy()[rows] = tensor.numpy()[entry_of[rows]]
    return results
