"""The store: all collections below one cache directory, opened for writing or only for reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftcli.cache.collection import Collection
from ftcli.cache.key import DESCRIPTION, CacheError, collection_key, description_text, reported
from ftcli.cache.space import DEFAULT_LIMIT_BYTES, Lease, Room, locked

_OVERHEAD = 1.02
"""Roughly what names and headers add to the features."""


class FeatureStore:
    """The collections below one directory, which together stay below a limit and below half of the free disk.

    Nothing is written before a collection is opened.
    """

    def __init__(self, directory: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.directory = directory
        self._room = Room(directory, limit_bytes)

    def would_fit(self, bytes_needed: int) -> str | None:
        """Return why features of so many bytes cannot be stored; None if they can.

        Call it with their collection open, which otherwise counts as one that could be removed for them.
        """
        try:
            with self._ready():
                return self._room.shortage(int(bytes_needed * _OVERHEAD))
        except CacheError as error:
            return str(error)

    def collection(self, description: Mapping[str, Any]) -> Collection:
        """Open the collection of a description, for reading and writing. Raises CacheError when it cannot."""
        path = self.directory / collection_key(description)
        with self._ready():
            path.mkdir(exist_ok=True)
            lease = Lease(path)
            try:
                _describe(path, description, lease.temporary())
                self._room.evict()
            except BaseException:
                lease.release()
                raise
        return Collection(path, room=self._room, lease=lease, is_use=True)

    def look_into(self, description: Mapping[str, Any]) -> Collection | None:
        """Open the collection of a description for reading; None where there is none.

        That does not count as a use: the order in which collections are evicted stays. Damaged shards are removed.
        Raises CacheError when it cannot be read.
        """
        path = self.directory / collection_key(description)
        if not path.is_dir():
            return None
        with self._ready():
            lease = Lease(path) if path.is_dir() else None
        return None if lease is None else Collection(path, room=self._room, lease=lease, is_use=False)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Hold the lock of a directory that exists."""
        with reported("use", self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            with locked(self.directory):
                yield


def _describe(path: Path, description: Mapping[str, Any], temporary: Path) -> None:
    """Write the description next to the features; its modification time becomes now."""
    try:
        temporary.write_text(description_text(description), encoding="utf-8")
        temporary.replace(path / DESCRIPTION)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
