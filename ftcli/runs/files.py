"""Owns writing files whole: to a temporary name beside the target, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ftcli.errors import RunError

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
