"""Owns how much the cache may hold, and which collections leave when it would hold more.

Owns who is using which collection: lock files, which the operating system releases however a process dies.

A lease is a file `<random>.lease` in the collection's directory, locked as long as the process lives, and a process
writes to temporary files named after its lease. So whatever belongs to no live lease is rubbish, whatever its age.
Leases are taken and looked at only under the store's own lock, so that nobody sees one that is not locked yet.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ftcli.cache.key import DESCRIPTION, CacheError, reported

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


PATIENCE_SECONDS = 60.0
"""How long another process may hold the store's lock; it does so while it writes one shard or evicts."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the store's lock. Raises CacheError when there is none to be had."""
    lock = FileLock(directory / "lock", timeout=PATIENCE_SECONDS, thread_local=False)
    try:
        with reported("lock", directory):
            lock.acquire()
    except CacheError as error:
        if isinstance(error.__cause__, Timeout):
            message = f"another process has held the cache's lock for {PATIENCE_SECONDS:.0f} seconds"
            raise CacheError(message, where=str(directory)) from error
        raise
    try:
        yield
    finally:
        lock.release()


class Lease:
    """The use of a collection by this process, until `release` or the end of the process."""

    def __init__(self, collection: Path) -> None:
        self._name = secrets.token_hex(8)
        self._collection = collection
        self._lock = FileLock(collection / f"{self._name}.lease", timeout=0, thread_local=False)
        self._lock.acquire()

    def temporary(self) -> Path:
        """Return a new name for a file that is still being written."""
        return self._collection / f"{self._name}.{secrets.token_hex(4)}.tmp"

    def release(self) -> None:
        """Stop using the collection; in a process forked from the one that uses it, do nothing."""
        if not self._lock.is_locked:
            return
        self._lock.release()
        with suppress(OSError):
            (self._collection / f"{self._name}.lease").unlink(missing_ok=True)


def sweep(collection: Path) -> bool:
    """Remove what dead processes left in a collection and return whether a live one uses it; the store is locked."""
    alive = {path.stem for path in collection.glob("*.lease") if not _removed(path)}
    for path in collection.glob("*.tmp"):
        if path.name.partition(".")[0] not in alive:
            path.unlink(missing_ok=True)
    return bool(alive)


def _removed(lease: Path) -> bool:
    """Remove a lease if its process is dead; return whether it was."""
    probe = FileLock(lease, timeout=0, thread_local=False)
    try:
        probe.acquire()
    except Timeout:
        return False
    probe.release()
    with suppress(OSError):
        lease.unlink(missing_ok=True)
    return True
