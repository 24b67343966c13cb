"""Owns the cache directory: where it is, how a collection is named after what it holds, and who may begin using one."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftcli.cache.collection import Collection
from ftcli.cache.errors import CacheError, reported
from ftcli.cache.leases import Lease, locked
from ftcli.cache.room import DEFAULT_LIMIT_BYTES, DESCRIPTION, Room
from ftcli.cache.shards import FORMAT

ENVIRONMENT = "FTCLI_CACHE"
"""The environment variable that moves the cache."""

_OVERHEAD = 1.02
"""What names and headers add to the features, roughly."""


def cache_directory() -> Path:
    """Return FTCLI_CACHE where it is set, else `ftcli` in the user's cache directory of this platform."""
    if moved := os.environ.get(ENVIRONMENT):
        return Path(moved).expanduser().absolute()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "ftcli" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "ftcli"
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (configured if configured.is_absolute() else home / ".cache") / "ftcli"


def collection_key(description: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of a description made of JSON values, whatever the order of its keys."""
    text = json.dumps(_described(description), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
        return Collection(path, room=self._room, lease=lease)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Hold the lock of a directory that exists."""
        with reported("use", self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            with locked(self.directory):
                yield


def _described(description: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "description": dict(description)}


def _describe(path: Path, description: Mapping[str, Any], temporary: Path) -> None:
    """Put the description beside the features; its modification time becomes now."""
    try:
        temporary.write_text(json.dumps(_described(description), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path / DESCRIPTION)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
