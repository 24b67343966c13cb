"""Owns how the C library keeps memory for tensors: freed activations stay with the process, for the next batch."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
_OLD_LIMIT = 32 << 20
"""The largest threshold for mmap that older glibc takes: half of a heap of 64 MiB."""

_NEVER = (1 << 31) - 1
_OWN_SETTINGS = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_ARENA_MAX",
    "GLIBC_TUNABLES",
)


def tune_allocator() -> bool:
    """Keep large blocks in the heap when they are freed; tell whether that was done.

    By default glibc maps each large activation anew and gives it back when it is freed, so that the kernel zeroes every
    page of every layer of every batch. Does nothing where the C library is another one, or where the user has set it up
    through the environment. The process keeps its peak of memory until it ends.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_SETTINGS):
        return False
    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    mmap = library.mallopt(_M_MMAP_THRESHOLD, _NEVER) or library.mallopt(_M_MMAP_THRESHOLD, _OLD_LIMIT)
    # Only the first heap grows without limit: with heaps of their own, other threads would go on mapping anew.
    return bool(mmap and library.mallopt(_M_TRIM_THRESHOLD, _NEVER) and library.mallopt(_M_ARENA_MAX, 1))
