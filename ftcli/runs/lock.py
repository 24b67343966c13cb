"""Owns that one process at a time trains a run: a lock that the operating system releases however a process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from ftcli.errors import RunDirectoryError, RunError, RunGoneError
from ftcli.runs.files import cannot_write

_PATIENCE_SECONDS = 8.0
"""Workers of a killed process hold its lock until they notice that it is gone, which takes torch's 5 seconds."""


class Lockable(Protocol):
    """A run, or the directory of several seeds."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def lock(self) -> Path:
        """The file that is locked."""


@dataclass(frozen=True)
class Held:
    """A run that is locked: its directory, and which file the lock is."""

    path: Path
    lock: Path
    identity: tuple[int, int] | None

    def check(self) -> None:
        """Raise RunGoneError where the path no longer leads to the run, so that what is written would go astray."""
        if _identity(self.lock) != self.identity:
            raise RunGoneError(
                "is no longer the run that is being trained: that was moved, removed or replaced",
                where=str(self.path),
                hint="Where it was moved to, go on with it: ftcli train --resume. Nothing was written here.",
            )


@contextmanager
def exclusive(run: Lockable) -> Iterator[Held]:
    """Keep other processes from training a run meanwhile. Raises RunDirectoryError while another one does."""
    lock = FileLock(run.lock, timeout=_PATIENCE_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        hint = "Wait until it has ended, or stop it with Ctrl-C."
        raise RunDirectoryError("another process is training this run", where=str(run.path), hint=hint) from error
    except NotImplementedError as error:
        hint = "Copy the run to a disk whose files can be locked."
        raise RunError(f"cannot lock the run: {error}", where=str(run.path), hint=hint) from error
    except OSError as error:
        raise cannot_write(run.path, error, what="cannot lock the run") from error
    try:
        yield Held(run.path, run.lock, _identity(run.lock))
    finally:
        lock.release()


def _identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from any other that is there at the same time; None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
