"""Owns making run directories: where one may go, and its first files, all of them or none.

Owns the hidden places where directories are made before anybody sees them, and what killed processes leave there.

A place is a folder `.NAME.ftcli-xxxxxxxx` beside the directory that it is for, with a lock file that the operating
system releases however a process dies. So one that is not locked belongs to nobody, whatever its age.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ftcli.errors import RunDirectoryError, RunError
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import cannot_write, sync_directory, write_json, write_text
from ftcli.runs.lock import Lockable


def check_free(run: RunDirectory, *, overwrite: bool) -> None:
    """Raise RunDirectoryError when a run may not be made at this place; one that was being replaced comes back."""
    put_back(run.path)
    check_parents(run.path)
    if not run.path.exists() and not run.path.is_symlink():
        return
    if not overwrite:
        raise exists_already(run.path)
    if run.path.is_symlink() or not run.recipe.is_file() or not run.plan.is_file():
        what = "is a link" if run.path.is_symlink() else "is not a run directory"
        raise RunDirectoryError(f"{what} and is left alone", where=str(run.path), hint="Choose another --name.")


def check_parents(path: Path) -> None:
    """Raise RunDirectoryError, before anything is computed, where no directory can be made at `path`."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:  # safetensors could not open what it wrote
        raise RunDirectoryError(
            "is not valid UTF-8", where=str(path), hint="Choose another --name or --runs."
        ) from error
    above = next(parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink())
    if not above.is_dir():
        raise RunDirectoryError("is not a directory", where=str(above), hint="Choose another folder with --runs.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise RunDirectoryError("may not be written to", where=str(above), hint="Choose another folder with --runs.")


def create(run: RunDirectory, files: dict[str, Any], *, overwrite: bool) -> int:
    """Make the directory with its first files, name to text or to a value for JSON; return what `check_made` wants.

    They are written beside it and renamed into place, so that a run directory always has them all. Raises
    RunDirectoryError when it exists, RunError when it cannot be written.
    """
    check_free(run, overwrite=overwrite)

    def fill(staging: Path) -> None:
        for folder in ("checkpoints", "predictions"):
            (staging / folder).mkdir()
        write_files(staging, files)

    return make_whole(run.path, fill, overwrite=overwrite)


def make_whole(path: Path, fill: Callable[[Path], None], *, overwrite: bool) -> int:
    """Make a directory that `fill` fills before anybody sees it, and return its inode; what it replaces goes.

    Raises RunDirectoryError when another process has made it meanwhile, RunError when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_places(path.parent)
        with staged(path) as staging:
            fill(staging)
            made = staging.stat().st_ino
            if overwrite:
                exchange(staging, path)
            else:
                staging.rename(path)
            sync_directory(path.parent)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise exists_already(path) from error
        raise _not_made(path, cannot_write(path, error, what="cannot make the run directory")) from error
    except RunError as error:  # of a file in a place that nobody sees
        raise _not_made(path, error) from error
    return made


def _not_made(path: Path, error: RunError) -> RunError:
    """Return the error for a directory of which nothing is there, nor any file that the system named."""
    advice = "Choose" if error.hint is None else f"{error.hint.removesuffix('.')}, or choose"
    return RunError(error.message, where=str(path), hint=f"{advice} another folder with --runs; nothing was made.")


def exists_already(path: Path) -> RunDirectoryError:
    """Return the error for a place that is taken."""
    hint = "Choose another --name, pass --overwrite to replace it, or go on with it: ftcli train --resume."
    return RunDirectoryError("exists already", where=str(path), hint=hint)


def check_made(run: Lockable, made: int) -> None:
    """Raise RunDirectoryError where the directory is no longer the one that `create` made, but another process's."""
    if not run.path.is_dir() or run.path.stat().st_ino != made:
        raise RunDirectoryError(
            "was replaced by another process", where=str(run.path), hint="Choose another --name for one of the two."
        )


def write_files(folder: Path, files: Mapping[str, Any]) -> None:
    """Write files into a folder: name to text, or to a value for JSON. Raises RunError."""
    for name, value in files.items():
        if isinstance(value, str):
            write_text(folder / name, value)
        else:
            write_json(folder / name, value)


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
