"""Owns the collections below one cache directory, and who may begin using one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftcli.cache.collection import Collection
from ftcli.cache.key import DESCRIPTION, CacheError, collection_key, description_text, reported
from ftcli.cache.space import DEFAULT_LIMIT_BYTES, Lease, Room, locked

_OVERHEAD = 1.02
"""What names and headers add to the features, roughly."""


class FeatureStore:
    """The collections below one directory, which together stay below a limit and below half of the disk that is free.

    Nothing is made on the disk before a collection is asked for.
    """

    def __init__(self, directory: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.directory = directory
        self._room = Room(directory, limit_bytes)

    def would_fit(self, bytes_needed: int) -> str | None:
        """Return why features of so many bytes cannot be stored, in one sentence; None if they can.

        Ask while holding the collection that they are for, or else it counts as one that could be removed for them.
        """
        try:
            with self._ready():
                return self._room.shortage(int(bytes_needed * _OVERHEAD))
        except CacheError as error:
            return str(error)

    def collection(self, description: Mapping[str, Any]) -> Collection:
        """Begin to use the collection of a description, until it is closed. Raises CacheError when it cannot."""
        path = self.directory / collection_key(description)
        with self._ready():
            path.mkdir(exist_ok=True)
            lease = Lease(path)
            try:
                _describe(path, description, lease.temporary())
                self._room.trim()
            except BaseException:
                lease.release()
                raise
        return Collection(path, room=self._room, lease=lease, on_close=_used_now)

    def look_into(self, description: Mapping[str, Any]) -> Collection | None:
        """Begin to read the collection of a description, until it is closed; None where there is none.

        That does not count as a use, so that whoever looks does not change who is next to go; damaged shards go, as
        ever. Raises CacheError when it cannot be read.
        """
        path = self.directory / collection_key(description)
        if not path.is_dir():
            return None
        with self._ready():
            lease = Lease(path) if path.is_dir() else None
        return None if lease is None else Collection(path, room=self._room, lease=lease, on_close=_not_used)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Hold the lock of a directory that exists."""
        with reported("use", self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            with locked(self.directory):
                yield


def _used_now(collection: Path) -> None:
    with suppress(OSError):  # the directory is gone, and nobody will ask when it was used
        os.utime(collection / DESCRIPTION)


def _not_used(collection: Path) -> None:
    """Leave the time of the last use as it is."""


def _describe(path: Path, description: Mapping[str, Any], temporary: Path) -> None:
    """Put the description beside the features; its modification time becomes now."""
    try:
        temporary.write_text(description_text(description), encoding="utf-8")
        temporary.replace(path / DESCRIPTION)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
