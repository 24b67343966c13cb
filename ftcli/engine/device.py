"""The device and precision of a network, and the memory allocator that suits them on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ftcli.errors import UsageError
from ftcli.model.prefix.fast import to_channels_last


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the forward pass on it."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the forward pass runs."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def place(self, module: nn.Module) -> None:
        """Move a module to the device, its weights laid out channels-last: the faster order for convolutions."""
        module.to(self.device)
        to_channels_last(module)


def pick_compute(device: str, precision: str) -> Compute:
    """Choose device and precision, and tune the allocator where the CPU computes.

    `auto` is CUDA, else Apple's MPS, else the CPU; and bf16 on CUDA devices that have it. Raises UsageError for a
    device or precision that this machine lacks.
    """
    chosen = _pick_device(device)
    if precision == "auto":
        fast = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if fast else "fp32"
    if precision == "bf16" and chosen.type == "mps":
        raise UsageError(
            "bf16 is not supported on Apple's GPU", where="precision", hint="Set precision to auto or fp32."
        )
    if chosen.type == "cpu":
        tune_allocator()
    return Compute(chosen, precision)


def _pick_device(name: str) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available.get(name, False):
        there = [kind for kind, is_there in available.items() if is_there]
        raise UsageError(
            f"{name} is not available on this machine", where="device", hint=f"Available: auto, {', '.join(there)}."
        )
    return torch.device(name)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
_OLD_LIMIT = 32 << 20
"""The largest threshold for mmap that older glibc accepts: half of a heap of 64 MiB."""

_NEVER = (1 << 31) - 1
_OWN_SETTINGS = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_ARENA_MAX",
    "GLIBC_TUNABLES",
)


def tune_allocator() -> bool:
    """Keep freed activations in the heap for the next batch; return whether that was possible.

    By default glibc maps memory for each large activation and unmaps it when it is freed, so that the kernel zeroes
    every page of every layer of every batch. Does nothing with another C library, or where the environment configures
    malloc. The process keeps its peak memory until it ends.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_SETTINGS):
        return False
    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    mmap = library.mallopt(_M_MMAP_THRESHOLD, _NEVER) or library.mallopt(_M_MMAP_THRESHOLD, _OLD_LIMIT)
    # Only the first heap grows without limit: threads with heaps of their own would still map and unmap.
    return bool(mmap and library.mallopt(_M_TRIM_THRESHOLD, _NEVER) and library.mallopt(_M_ARENA_MAX, 1))
