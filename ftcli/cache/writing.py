"""Owns adding to a collection: entries are gathered into shards, and each shard appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from ftcli.cache.encoding import encode
from ftcli.cache.errors import CacheError
from ftcli.cache.shard import Signature, signature_of

SHARD_BYTES = 64 * 10**6
"""How much an extraction that is killed loses at most, and keeps in memory."""

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
