"""Owns the file format of the cache: shards, each with all views and all tensors of some images, complete or absent.

A shard is a safetensors file named `<random>-<CRC-32 of its bytes>.safetensors`, so that any damage shows. It holds
`names` (n, 32) uint8, the images' SHA-256, and `tensor.000`, `tensor.001`, ... (n, views, ...).

Owns the numbers of a stored feature: how they are narrowed for the disk and widened for training.
"""

from __future__ import annotations

import os
import re
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ftcli.cache.key import HalfPrecisionError

PATTERN = re.compile(r"[0-9a-f]{16}-([0-9a-f]{8})\.safetensors")

Keys = NDArray[np.bytes_]
"""Image hashes as 32 raw bytes each, dtype S32: a tenth of the memory of text, and sorted and searched by numpy."""

Signature = tuple[tuple[torch.dtype, tuple[int, ...]], ...]
"""Of each tensor: dtype and (views, ...)."""

_CHUNK_BYTES = 4 * 2**20


class DamagedShardError(Exception):
    """A shard whose bytes are not those that were written."""


@dataclass(frozen=True, eq=False)
class Shard:
    """The entries of one file: `keys` (n,), and `tensors`, each (n, views, ...), mapped and read when they are used."""

    keys: Keys
    tensors: tuple[Tensor, ...]

    @property
    def signature(self) -> Signature:
        """What every entry looks like."""
        return signature_of([tensor[0] for tensor in self.tensors])


def signature_of(entry: Sequence[Tensor]) -> Signature:
    """Return dtype and shape of each tensor of one image."""
    return tuple((tensor.dtype, tuple(tensor.shape)) for tensor in entry)


def keys_of(names: Sequence[str]) -> Keys:
    """Return names, 64 hexadecimal digits each, as keys (n,)."""
    assert all(len(name) == 64 for name in names), "an image's name is its SHA-256 in hexadecimal"
    return np.frombuffer(bytes.fromhex("".join(names)), dtype="S32")


def find(wanted: Keys, stored: Keys) -> NDArray[np.int64]:
    """Return the position of each wanted key among the stored ones (n,), -1 where there is none."""
    if not len(stored):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(stored, kind="stable")
    nearest = order[np.minimum(np.searchsorted(stored, wanted, sorter=order), len(stored) - 1)]
    return np.where(stored[nearest] == wanted, nearest, -1).astype(np.int64)


def to_bytes(names: Sequence[str], tensors: Sequence[Tensor]) -> bytes:
    """Return the content of a shard; the tensors are (n, views, ...) and contiguous."""
    keys = torch.from_numpy(keys_of(names).view(np.uint8).reshape(-1, 32).copy())
    return save({"names": keys, **{f"tensor.{number:03d}": tensor for number, tensor in enumerate(tensors)}})


def write(content: bytes, temporary: Path) -> Path:
    """Write a shard under a temporary name, flush it to the disk and rename it; return its path.

    Raises OSError, and then nothing is left behind.
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
    try:
        with safe_open(path, framework="pt") as file:
            keys = file.get_tensor("names").numpy().tobytes()
            tensors = [file.get_tensor(name) for name in sorted(file.keys()) if name != "names"]
    except SafetensorError as error:
        raise DamagedShardError(path.name) from error
    except RuntimeError as error:  # what torch makes of a file that the system will not map
        raise OSError(str(error)) from error
    return Shard(np.frombuffer(keys, dtype="S32"), tuple(tensors))


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


STORAGE_DTYPES = (torch.float16, torch.float32)
_COARSE = 2.0**-13
"""Twice the least number that float16 holds with all its digits; where no feature reaches it, most have fewer."""


def encode(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor as it is stored: floating point as `dtype`, anything else as it is.

    Raises HalfPrecisionError when a finite value would become infinite, or when all are so small that they would lose
    digits; what is not finite already stays so.
    """
    assert dtype in STORAGE_DTYPES, "features are stored as float16 or float32"
    if not tensor.is_floating_point():
        return tensor
    encoded = tensor.to(dtype)
    if tensor.dtype == dtype or dtype != torch.float16:
        return encoded
    if not _surely_finite(encoded) and not torch.equal(encoded.isfinite(), tensor.isfinite()):
        largest = float(tensor[tensor.isfinite()].abs().max())
        raise HalfPrecisionError(f"a feature of {largest:.6g} does not fit into float16")
    if float(encoded.abs().max()) < _COARSE and bool(tensor.any()):
        raise HalfPrecisionError(f"features of at most {float(tensor.abs().max()):.3g} lose digits in float16")
    return encoded


def decode(tensor: Tensor) -> Tensor:
    """Return a stored tensor as training reads it: floating point as float32, anything else as it is."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _surely_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite, from their sum, which is quick; a sum of finite values may overflow too."""
    return bool(tensor.sum(dtype=torch.float32).isfinite())
