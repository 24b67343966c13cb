"""Reading and writing the files of a run: whole or not at all, with errors that name the file.

A file is written to a temporary name in the same folder, flushed to disk, and renamed. So a crash at any instant leaves
the old or the new version whole, and a hard link to a file never changes.
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

CHECK_THE_FILE = "Check the file's permissions, and the disk for errors."
"""The hint for a file that the system cannot read."""

_DAMAGED = "The file is damaged or was edited. Restore it from a copy, or train the run again."
_CANNOT_WRITE = {
    errno.ENOSPC: "Free some space on that disk.",
    errno.EDQUOT: "Free some space within your quota on that disk.",
    errno.EROFS: "Make that disk writable, or copy the directory to another one.",
    errno.EACCES: "Make the directory writable, or copy it to another place.",
}


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file next to `path`, flush it to disk and rename it.

    Raises RunError, for example for a full disk or a missing folder.
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


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises RunError."""
    write_with(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; undecodable file names keep their bytes (surrogateescape). Raises RunError."""
    write_bytes(path, _encoded(text))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; NaN is refused, since JSON has none. Raises RunError or ValueError."""
    write_bytes(path, _json(value))


def ensure_text(path: Path, text: str) -> None:
    """Make a file contain this text, without touching one that already does."""
    _ensure(path, _encoded(text))


def ensure_json(path: Path, value: Any) -> None:
    """Make a file contain this value as `write_json` writes it, without touching one that already does."""
    _ensure(path, _json(value))


def _ensure(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Undecodable bytes of a file name become \udcXX escapes: valid UTF-8 for any reader, and read back as they were.
    return text.encode("utf-8", "backslashreplace")


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to disk. Raises RunError."""
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


def duplicate(source: Path, target: Path) -> None:
    """Give `target` the content of `source`, by a hard link if the file system has them."""

    def link_or_copy(temporary: Path) -> None:
        try:
            temporary.hardlink_to(source)  # safe: files are replaced, never changed in place
        except OSError:
            shutil.copyfile(source, temporary)

    write_with(target, link_or_copy)


def sweep(directory: Path) -> None:
    """Remove the temporary files that a killed process left in a directory."""
    for path in directory.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Flush a directory's list of files to disk, if the system can. Raises OSError."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError, *, what: str = "cannot write") -> RunError:
    """Return the error for a failed write, with a hint for the usual causes."""
    return RunError(f"{what}: {error.strerror or error}", where=str(path), hint=_CANNOT_WRITE.get(error.errno or 0))


def read_text(path: Path) -> str:
    """Read UTF-8 text; undecodable file names keep their bytes (surrogateescape). Raises RunDirectoryError."""
    try:
        _check_file(path)
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise unreadable(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that ftcli wrote. Raises RunDirectoryError for anything else."""
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


def _refuse_constant(word: str) -> float:
    raise ValueError(f"is not JSON: {word} is not a JSON number")


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 (hex) of each of these files that exists in a folder. Raises RunDirectoryError."""
    return {name: _hash(folder / name) for name in names if (folder / name).is_file()}


def check_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raise RunDirectoryError for the first file that is missing or has another hash."""
    for name, sha256 in hashes.items():
        _check_file(folder / name)
        if _hash(folder / name) != sha256:
            raise damaged(folder / name, "is damaged or was edited: checksum mismatch with summary.json")


def json_hash(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a JSON object, independent of layout and the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def damaged(path: Path, message: str) -> RunDirectoryError:
    """Return the error for a damaged file of a run."""
    return RunDirectoryError(message, where=str(path), hint=_DAMAGED)


def _check_file(path: Path) -> None:
    """Raise RunDirectoryError unless this is a regular file: reading a pipe or a device could block for ever."""
    if not path.is_file():
        raise damaged(path, "is not a file" if path.exists() else "is missing")


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> RunDirectoryError:
    """Return the error for a file that the system cannot read."""
    return RunDirectoryError(f"cannot be read: {error.strerror or error}", where=str(path), hint=CHECK_THE_FILE)
