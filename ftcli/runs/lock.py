"""One process at a time trains a run: a lock that the operating system releases however a process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ftcli.errors import RunDirectoryError, RunError, RunGoneError
from ftcli.runs.directory import Directory
from ftcli.runs.files import cannot_write

PATIENCE_SECONDS = 8.0
"""Workers of a killed process hold its lock until they notice that it is gone, which takes torch's 5 seconds."""


@dataclass(frozen=True)
class RunLock:
    """The lock of a run that is held, and which file it is."""

    path: Path
    file: Path
    identity: tuple[int, int] | None

    def check(self) -> None:
        """Raise RunGoneError if the path leads elsewhere by now, so that nothing is written into another run."""
        if _identity(self.file) != self.identity:
            raise RunGoneError(
                "this run directory was moved, removed or replaced during training; nothing more was written to it",
                where=str(self.path),
                hint="Resume it from its new location, if it has one: ftcli resume RUN",
            )


@contextmanager
def exclusive(run: Directory) -> Iterator[RunLock]:
    """Lock a run for training. Raises RunDirectoryError while another process trains it, RunError if it cannot lock."""
    lock = FileLock(run.lock, timeout=PATIENCE_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        hint = "Wait until it ends, or stop it with Ctrl-C."
        raise RunDirectoryError("another process is training this run", where=str(run.path), hint=hint) from error
    except NotImplementedError as error:
        hint = "Copy the run to a disk that supports file locks."
        raise RunError(f"cannot lock the run: {error}", where=str(run.path), hint=hint) from error
    except OSError as error:
        raise cannot_write(run.path, error, what="cannot lock the run") from error
    try:
        yield RunLock(run.path, run.lock, _identity(run.lock))
    finally:
        lock.release()


def _identity(file: Path) -> tuple[int, int] | None:
    """Return device and inode, which no other existing file has; None if the file is missing."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
