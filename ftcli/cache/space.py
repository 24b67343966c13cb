"""Owns how much the cache may hold, and which collections leave when it would hold more."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ftcli.cache.errors import CacheError
from ftcli.cache.key import DESCRIPTION
from ftcli.cache.leases import sweep

DEFAULT_LIMIT_BYTES = 20 * 10**9

DISK_SHARE = 0.5
"""How much of the disk the cache may have, out of what would be free without it."""

_COLLECTION = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Use:
    """One collection on the disk: its bytes, its last use in seconds since 1970, and whether a live process uses it."""

    path: Path
    size_bytes: int
    last_use: float
    live: bool


@dataclass(frozen=True)
class Room:
    """The space that a cache directory has; its methods want the store to be locked, and raise OSError."""

    directory: Path
    limit_bytes: int

    def shortage(self, bytes_needed: int) -> str | None:
        """Return why so many bytes more cannot be held even if every unused collection left; None if they can."""
        uses = self._uses()
        allowed, held = self._allowed(uses), sum(use.size_bytes for use in uses if use.live)
        if held + bytes_needed <= allowed:
            return None
        why = "its limit" if allowed == self.limit_bytes else "half of the disk that is free"
        used = f", and {_size(held)} of them are in use" if held else ""
        return f"{_size(bytes_needed)} do not fit into the cache, which may hold {_size(allowed)} ({why}){used}"

    def trim(self) -> None:
        """Remove what is over the limit, unused collections only, the one whose last use is longest ago first."""
        self._evict(0)

    def make(self, bytes_needed: int) -> None:
        """Remove unused collections until so many bytes more can be held. Raises CacheError when they cannot be."""
        if reason := self.shortage(bytes_needed):
            raise CacheError(reason, where=str(self.directory))
        self._evict(bytes_needed)

    def _evict(self, bytes_needed: int) -> None:
        uses = self._uses()
        surplus = sum(use.size_bytes for use in uses) + bytes_needed - self._allowed(uses)
        for use in sorted(uses, key=lambda use: use.last_use):
            if surplus <= 0:
                return
            if not use.live:
                shutil.rmtree(use.path)
                surplus -= use.size_bytes

    def _allowed(self, uses: list[_Use]) -> int:
        held = sum(use.size_bytes for use in uses)
        return min(self.limit_bytes, int(DISK_SHARE * (free_bytes(self.directory) + held)))

    def _uses(self) -> list[_Use]:
        found = [path for path in self.directory.iterdir() if _COLLECTION.fullmatch(path.name) and path.is_dir()]
        return [_use_of(path) for path in found]


def free_bytes(directory: Path) -> int:
    """Return how many bytes of the disk are free."""
    return shutil.disk_usage(directory).free


def collection_bytes(collection: Path) -> int:
    """Return how many bytes the files of a collection have."""
    with os.scandir(collection) as entries:
        return sum(_stat_size(entry) for entry in entries)


def _use_of(path: Path) -> _Use:
    live = sweep(path)
    description = path / DESCRIPTION
    # One without a description was begun by a process that died at once.
    last_use = description.stat().st_mtime if description.exists() else 0.0
    return _Use(path, collection_bytes(path), last_use, live)


def _stat_size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # a lease that ended just now
        return 0


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1000:.1f} kB"
