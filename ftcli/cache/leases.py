"""Owns who is using which collection: lock files, which the operating system releases however a process dies.

A lease is a file `<random>.lease` in the collection's directory, locked as long as the process lives, and a process
writes to temporary files named after its lease. So whatever belongs to no live lease is rubbish, whatever its age.
Leases are taken and looked at only under the store's own lock, so that nobody sees one that is not locked yet.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ftcli.cache.errors import CacheError, reported

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
