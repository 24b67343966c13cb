"""Owns reading what a run wrote: text, JSON and hashes, and a sentence that names the file where that fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftcli.errors import RunDirectoryError
from ftcli.records import check_schema

SEE_THAT_IT_CAN = "See that you may read it, and that its disk is well."
"""What to do about a file that cannot be read."""

_HINT = "The file was cut, edited or exchanged: restore it from a copy, or train the run again."


def read_text(path: Path) -> str:
    """Read UTF-8 text; undecodable file names survive as surrogate escapes. Raises RunDirectoryError."""
    try:
        if not path.is_file():  # a pipe or a device would be read for ever
            raise damaged(path, "is not a file" if path.exists() else "is missing")
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise _unreadable(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that ftcli wrote. Raises RunDirectoryError for what is none, or has another schema."""
    try:
        value = json.loads(read_text(path), parse_constant=_refuse_constant)
        check_schema(value)
    except RecursionError as error:
        raise damaged(path, "is not JSON: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise damaged(path, f"is not JSON: {error.msg} on line {error.lineno}") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return dict(value)


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 (hex) of each of these files of a folder that is there. Raises RunDirectoryError."""
    return {name: _hash(folder / name) for name in names if (folder / name).is_file()}


def json_hash(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a JSON object, whatever the order of its keys and its layout in a file."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raise RunDirectoryError for the first file that is missing or is not the one that was hashed."""
    for name, sha256 in hashes.items():
        file = folder / name
        if not file.is_file():
            raise damaged(file, "is not a file" if file.exists() else "is missing")
        if _hash(file) != sha256:
            raise damaged(file, "is not the file whose hash is in summary.json")


def damaged(path: Path, message: str) -> RunDirectoryError:
    """Return the error for a file of a run that cannot be used as it is."""
    return RunDirectoryError(message, where=str(path), hint=_HINT)


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> RunDirectoryError:
    """Return the error for a file that may be as it was, but is not to be read."""
    return RunDirectoryError(f"cannot be read: {error.strerror or error}", where=str(path), hint=SEE_THAT_IT_CAN)


def _refuse_constant(word: str) -> float:
    raise ValueError(f"is not JSON: {word} is no number")
