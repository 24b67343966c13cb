"""The space of the cache: how much it may hold, which collections leave first, and which are in use.

A process that uses a collection holds a lease: a file `<random>.lease` in the collection's directory, locked as long as
the process lives; the operating system releases it however the process dies. Temporary files are named after the lease
of their process, so that files without a live lease are leftovers, whatever their age. Leases are taken and examined
only under the lock of the whole store: no process sees a lease file that is not locked yet.
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
from ftcli.phrases import size

DEFAULT_LIMIT_BYTES = 20 * 10**9

DISK_SHARE = 0.5
"""The share of the disk that the cache may take, out of what would be free without it."""

PATIENCE_SECONDS = 60.0
"""How long to wait for another process that holds the store's lock: it writes one shard, or evicts."""

_COLLECTION = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Use:
    """One collection on disk: its size, its last use in seconds since 1970, and whether a live process uses it."""

    path: Path
    size_bytes: int
    last_use: float
    live: bool


@dataclass(frozen=True)
class Room:
    """The space of a cache directory; call its methods with the store locked. They raise OSError."""

    directory: Path
    limit_bytes: int

    def shortage(self, bytes_needed: int) -> str | None:
        """Return why so many more bytes do not fit even without the unused collections; None if they fit."""
        uses = self._uses()
        allowed, held = self._allowed(uses), sum(use.size_bytes for use in uses if use.live)
        if held + bytes_needed <= allowed:
            return None
        why = "its limit" if allowed == self.limit_bytes else "half of the disk that is free"
        used = f", and {size(held)} of them are in use" if held else ""
        return f"{size(bytes_needed)} do not fit into the cache, which may hold {size(allowed)} ({why}){used}"

    def make(self, bytes_needed: int) -> None:
        """Remove unused collections until so many more bytes fit. Raises CacheError when they do not."""
        if reason := self.shortage(bytes_needed):
            raise CacheError(reason, where=str(self.directory))
        self.evict(bytes_needed)

    def evict(self, bytes_needed: int = 0) -> None:
        """Remove unused collections, the least recently used first, until so many more bytes are within the limit."""
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
        uses = []
        for path in self.directory.iterdir():
            if _COLLECTION.fullmatch(path.name) and path.is_dir():
                live, description = sweep(path), path / DESCRIPTION
                # A collection without a description was left by a process that died right after making it.
                last_use = description.stat().st_mtime if description.exists() else 0.0
                uses.append(_Use(path, collection_bytes(path), last_use, live))
        return uses


def free_bytes(directory: Path) -> int:
    """Return how many bytes of the disk are free."""
    return shutil.disk_usage(directory).free


def collection_bytes(collection: Path) -> int:
    """Return the size of the files of a collection."""
    total = 0
    with os.scandir(collection) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # a lease that has just ended
                total += entry.stat(follow_symlinks=False).st_size
    return total


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of the store. Raises CacheError when it cannot be acquired."""
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
        """Stop using the collection; do nothing in a fork of the process that uses it."""
        if not self._lock.is_locked:
            return
        self._lock.release()
        with suppress(OSError):
            (self._collection / f"{self._name}.lease").unlink(missing_ok=True)


def sweep(collection: Path) -> bool:
    """Remove what dead processes left in a collection; return whether a live one uses it. The store is locked."""
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
