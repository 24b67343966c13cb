"""Where the cache is, how a collection is named after what it holds, and the cache's errors; needs no torch.

Training is possible without a cache, so that every CacheError can be handled:

CacheError                   1   the cache cannot be used: full, not writable, removed, or locked for too long
└── HalfPrecisionError       1   a finite feature does not fit into float16; float32 would do
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftcli.errors import RunError

ENVIRONMENT = "FTCLI_CACHE"
"""The environment variable that moves the cache."""

FORMAT = 2
"""Raised whenever shards written before must not be read any more."""

DESCRIPTION = "description.json"
"""The file that says what a collection holds; its modification time is the last use."""


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
    # The XDG specification says to ignore relative paths.
    return (configured if configured.is_absolute() else home / ".cache") / "ftcli"


def collection_key(description: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of a description made of JSON values, whatever the order of its keys."""
    text = json.dumps(_with_format(description), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def description_text(description: Mapping[str, Any]) -> str:
    """Return the content of a collection's description file."""
    return json.dumps(_with_format(description), indent=2, sort_keys=True) + "\n"


def read_descriptions(directory: Path) -> tuple[dict[str, Any], ...]:
    """Return the descriptions of the collections in a cache directory, the most recently used first.

    Other files, other formats and what cannot be read are skipped.
    """
    found: list[tuple[float, dict[str, Any]]] = []
    for path in directory.glob(f"*/{DESCRIPTION}"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            description = json.loads(path.read_bytes())["description"]
            if collection_key(description) == path.parent.name:
                found.append((path.stat().st_mtime, description))
    return tuple(description for _, description in sorted(found, key=lambda each: each[0], reverse=True))


def _with_format(description: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "description": dict(description)}


class CacheError(RunError):
    """The cache cannot be used."""

    kind = "cache"


class HalfPrecisionError(CacheError):
    """A finite feature becomes infinite in float16."""

    kind = "half-precision"


@contextmanager
def reported(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError into a CacheError: `cannot <action> the cache: <reason>`."""
    try:
        yield
    except OSError as error:
        raise CacheError(f"cannot {action} the cache: {error.strerror or error}", where=str(path)) from error
