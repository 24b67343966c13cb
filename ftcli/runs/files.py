"""Owns writing files whole: to a temporary name beside the target, flushed to disk, then renamed.

Owns reading what a run wrote: text, JSON and hashes, and a sentence that names the file where that fails.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ftcli.errors import RunDirectoryError, RunError
from ftcli.records import check_schema

_ADVICE = {
    errno.ENOSPC: "Free some space on that disk.",
    errno.EDQUOT: "Free some space within your quota on that disk.",
    errno.EROFS: "Make that disk writable, or copy the directory to another one.",
    errno.EACCES: "Make the directory writable, or copy it to another place.",
}


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any instant leaves the old or the new version whole."""
    write_with(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `write_bytes` does; undecodable file names survive as surrogate escapes."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON as `write_bytes` does; not-a-number is refused, since JSON has none.

    The bytes of an undecodable file name are escaped, as surrogates, so that the file is UTF-8 for every reader.
    """
    write_bytes(path, _json(value))


def ensure_text(path: Path, text: str) -> None:
    """Make a file hold this text, as `write_text` does; one that holds it stays."""
    _ensure(path, text.encode("utf-8", "surrogateescape"))


def ensure_json(path: Path, value: Any) -> None:
    """Make a file hold this value, as `write_json` does; one that holds it stays."""
    _ensure(path, _json(value))


def _ensure(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and rename it.

    Raises RunError when the disk is full, the directory is gone or may not be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def duplicate(source: Path, target: Path) -> None:
    """Make `target` the same content as `source`, by a second link where the file system has them.

    Safe because files are only ever replaced, never changed in place.
    """

    def link_or_copy(temporary: Path) -> None:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)

    write_with(target, link_or_copy)


def sweep(directory: Path) -> None:
    """Remove the temporary files that a killed process left below a directory."""
    for path in directory.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to the disk. Raises RunError when it cannot be written."""
    try:
        is_new = not path.exists()
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError, *, what: str = "cannot write") -> RunError:
    """Return the error for what the system did not let be written, with what to do about it."""
    return RunError(f"{what}: {error.strerror or error}", where=str(path), hint=_ADVICE.get(error.errno or 0))


def sync_directory(directory: Path) -> None:
    """Flush to the disk which files a directory holds, where the system can. Raises OSError."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
