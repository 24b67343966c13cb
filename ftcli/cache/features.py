"""Owns reading features by image and view: from memory where they are few, else from the mapped files."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.cache.shard import Keys, Shard, find

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
