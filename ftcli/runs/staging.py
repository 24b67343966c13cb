"""Owns the hidden places where directories are made before anybody sees them, and what killed processes leave there.

A place is a folder `.NAME.ftcli-xxxxxxxx` beside the directory that it is for, with a lock file that the operating
system releases however a process dies. So one that is not locked belongs to nobody, whatever its age.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = "ftcli.lock"
_MARK = ".ftcli-"
_NEW, _OLD = "new", "old"


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Make a place for the directory `path`, and yield where to make it; what is left of the place then goes.

    Raises OSError.
    """
    place, lock = _locked_place(path)
    try:
        (place / _NEW).mkdir()
        yield place / _NEW
    finally:
        _clear(place, path)
        lock.release()


def exchange(made: Path, path: Path) -> None:
    """Put a directory that was made in its place where another one may stand, which goes with the place.

    There is an instant with neither; whoever finds that a process died in it puts the old one back. Raises OSError.
    """
    if path.exists():
        path.rename(made.with_name(_OLD))
    made.rename(path)


def sweep_places(directory: Path) -> None:
    """Remove the places in a directory whose processes are dead, and put back what one of them was about to replace."""
    for place in directory.glob(f".*{_MARK}????????"):
        with suppress(OSError):
            place.rmdir()  # of one that is not locked yet; who is about to lock it makes it again
    for lock_file in directory.glob(f".*{_MARK}????????/{_LOCK}"):
        lock = FileLock(lock_file, timeout=0)
        with suppress(Timeout, OSError, NotImplementedError), lock:
            place = lock_file.parent
            _clear(place, directory / place.name[1:].rpartition(_MARK)[0])


def put_back(path: Path) -> None:
    """Put back the directory that a process was about to replace when it died, where `path` is missing for that.

    It may be the directory of a path inside, too. What else dead processes left beside it goes.
    """
    for part in (*reversed(path.absolute().parents), path.absolute()):
        if not os.path.lexists(part):
            with suppress(OSError):  # whoever reads the path says better what is wrong with it
                sweep_places(part.parent)
            if not os.path.lexists(part):
                return


def _locked_place(path: Path) -> tuple[Path, FileLock]:
    """Make a place and lock it; where `sweep_places` of another process was faster than the lock, make another."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{path.name}{_MARK}", dir=path.parent))
        lock = FileLock(place / _LOCK, timeout=0)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):
            continue
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return place, lock


def _clear(place: Path, path: Path) -> None:
    """Remove a place; the directory that was moved there to be replaced goes back, unless its successor has come.

    Where it cannot, since something else stands there or may not be moved, the place stays: it has the only copy.
    """
    old, has_successor = place / _OLD, not (place / _NEW).exists()
    if old.is_dir() and not has_successor:
        if os.path.lexists(path):
            return
        try:
            old.rename(path)
        except OSError:
            return
    shutil.rmtree(place, ignore_errors=True)
