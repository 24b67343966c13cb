"""The files of the cache: shards, each with the features of some views, complete or absent.

A shard is a safetensors file named `<random>-<CRC-32 of its bytes>.safetensors`, so that any damage shows. It holds
`names` (n, 32) uint8, the SHA-256 that names each view, and `tensor.000`, `tensor.001`, ... (n, ...), the features.
"""

from __future__ import annotations

import os
import re
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ftcli.cache.key import HalfPrecisionError

PATTERN = re.compile(r"[0-9a-f]{16}-([0-9a-f]{8})\.safetensors")

STORAGE_DTYPES = (torch.float16, torch.float32)

Keys = NDArray[np.bytes_]
"""Names as 32 raw bytes each, dtype S32: a tenth of the memory of text, and sorted and searched by numpy."""

Signature = tuple[tuple[torch.dtype, tuple[int, ...]], ...]
"""The dtype and shape of each tensor of one entry."""

_CHUNK_BYTES = 4 * 2**20
_COARSE = 2.0**-13
"""Twice the smallest number that float16 holds with all its digits; below it, most numbers have fewer."""


class DamagedShardError(Exception):
    """The bytes of a shard are not those that were written."""


@dataclass(frozen=True, eq=False)
class Shard:
    """The entries of one file: `keys` (n,), and `tensors`, each (n, ...), mapped and read when they are used."""

    keys: Keys
    tensors: tuple[Tensor, ...]


def signature_of(tensors: Sequence[Tensor]) -> Signature:
    """Return what the entries of tensors (n, ...) look like."""
    return tuple((tensor.dtype, tuple(tensor.shape[1:])) for tensor in tensors)


def keys_of(names: Sequence[str]) -> Keys:
    """Return names, 64 hexadecimal digits each, as keys (n,)."""
    assert all(len(name) == 64 for name in names), "a name is a SHA-256 in hexadecimal"
    return np.frombuffer(bytes.fromhex("".join(names)), dtype="S32")


@dataclass(eq=False)
class Index:
    """The keys of shards, sorted as they are added, each with its place: shards and entries are counted in order.

    With shards of 3 and 5 entries, place 4 is entry 1 of the second.
    """

    keys: Keys = field(default_factory=lambda: keys_of([]))
    places: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def add(self, keys: Keys) -> None:
        """Add the keys (n,) of further shards: a merge with those there are."""
        order = np.argsort(keys, kind="stable")
        # After equal ones, so that the first shard of a key stays the one that is read.
        at = np.searchsorted(self.keys, keys[order], side="right")
        places = len(self.keys) + order
        self.keys, self.places = np.insert(self.keys, at, keys[order]), np.insert(self.places, at, places)

    def find(self, wanted: Keys) -> NDArray[np.int64]:
        """Return the place of each wanted key, -1 where there is none."""
        if not len(self.keys):
            return np.full(len(wanted), -1, dtype=np.int64)
        nearest = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[nearest] == wanted, self.places[nearest], -1).astype(np.int64)


def to_bytes(names: Sequence[str], tensors: Sequence[Tensor]) -> bytes:
    """Return the content of a shard; the tensors are (n, ...) and contiguous."""
    keys = torch.from_numpy(keys_of(names).view(np.uint8).reshape(-1, 32).copy())
    return save({"names": keys, **{f"tensor.{number:03d}": tensor for number, tensor in enumerate(tensors)}})


def write(content: bytes, temporary: Path) -> Path:
    """Write a shard under a temporary name, flush it to the disk and rename it; return its path.

    Raises OSError, and leaves nothing behind then.
    """
    path = temporary.with_name(f"{secrets.token_hex(8)}-{zlib.crc32(content):08x}.safetensors")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the last moment at which the disk can refuse
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def read(path: Path) -> Shard:
    """Check every byte of a shard and map it. Raises DamagedShardError, or OSError when it cannot be read."""
    named = PATTERN.fullmatch(path.name)
    if named is None or _checksum(path) != int(named[1], 16):
        raise DamagedShardError(path.name)
    return map_shard(path)


def map_shard(path: Path) -> Shard:
    """Map a shard whose bytes are known to be right. Raises DamagedShardError, or OSError when it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            keys = file.get_tensor("names").numpy().tobytes()
            tensors = [file.get_tensor(name) for name in sorted(file.keys()) if name != "names"]
    except SafetensorError as error:
        raise DamagedShardError(path.name) from error
    except RuntimeError as error:  # torch's, for a file that the system will not map
        raise OSError(str(error)) from error
    return Shard(np.frombuffer(keys, dtype="S32"), tuple(tensors))


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def narrow(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor as it is stored: floating point as `dtype`, anything else unchanged.

    Raises HalfPrecisionError when a finite value would become infinite, or when all values are so small that they would
    lose digits. Values that are not finite stay so.
    """
    assert dtype in STORAGE_DTYPES, "features are stored as float16 or float32"
    if not tensor.is_floating_point():
        return tensor
    narrowed = tensor.to(dtype)
    if tensor.dtype == dtype or dtype != torch.float16:
        return narrowed
    # A finite sum, which is quick, proves that all values are finite; an infinite one may be an overflow of its own.
    if not narrowed.sum(dtype=torch.float32).isfinite() and not torch.equal(narrowed.isfinite(), tensor.isfinite()):
        largest = float(tensor[tensor.isfinite()].abs().max())
        raise HalfPrecisionError(f"a feature of {largest:.6g} does not fit into float16")
    if float(narrowed.abs().max()) < _COARSE and bool(tensor.any()):
        raise HalfPrecisionError(f"features of at most {float(tensor.abs().max()):.3g} lose digits in float16")
    return narrowed


def widen(tensor: Tensor) -> Tensor:
    """Return a stored tensor as training reads it: floating point as float32, anything else unchanged."""
    return tensor.float() if tensor.is_floating_point() else tensor
