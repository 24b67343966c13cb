"""Owns the errors of the cache; whoever gets one can go on without a cache.

CacheError                   1   the cache cannot be used: full, not writable, gone, or in the way of itself
└── HalfPrecisionError       1   a finite feature does not fit into float16; float32 would do
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftcli.errors import RunError


class CacheError(RunError):
    """The cache cannot be used."""

    kind = "cache"


class HalfPrecisionError(CacheError):
    """A finite feature becomes infinite in float16."""

    kind = "half-precision"


@contextmanager
def reported(action: str, path: Path) -> Iterator[None]:
    """Turn what the operating system says into a CacheError: `cannot <action> the cache: <reason>`."""
    try:
        yield
    except OSError as error:
        raise CacheError(f"cannot {action} the cache: {error.strerror or error}", where=str(path)) from error
