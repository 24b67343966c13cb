"""Making run directories: where one may go, and its first files, all of them or none.

A directory is staged in a hidden folder next to its final place and then renamed. Replacing an older run takes two
renames, so a process can be killed between them; what it leaves is told apart by what exists:

    runs/a   runs/.a.ftcli-x1y2z3w4/     what happened                      what the next command does
    old      new/                        killed while staging               removes the hidden folder
    -        new/  old/                  killed between the two renames     moves old/ back to runs/a
    new      old/                        killed before the clean-up         removes the hidden folder
    -        old/                        the new run was moved elsewhere    removes the hidden folder

The hidden folder holds a lock file that the operating system releases however a process dies, so an unlocked one
belongs to no process, whatever its age.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ftcli.errors import RunDirectoryError, RunError
from ftcli.phrases import resume_hint
from ftcli.runs.directory import Directory, RunDirectory
from ftcli.runs.files import cannot_write, sync_directory, write_json, write_text


def check_free(made: Directory, *, overwrite: bool) -> None:
    """Raise RunDirectoryError if it may not be made here; one that was being replaced is restored first."""
    path = made.path
    put_back(path)
    check_parents(path)
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise exists_already(path)
    if path.is_symlink() or not made.has_its_marks():
        what = "is a link" if path.is_symlink() else f"is not {made.kind}"
        raise RunDirectoryError(f"{what}, so it is not overwritten", where=str(path), hint="Choose another --name.")


def check_parents(path: Path) -> None:
    """Raise RunDirectoryError, before anything is computed, if no directory can be made at `path`."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:  # safetensors could not open what it wrote
        raise RunDirectoryError(
            "is not valid UTF-8", where=str(path), hint="Choose another --name or --runs."
        ) from error
    above = next(parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "is not writable" if above.is_dir() else "is not a directory"
        raise RunDirectoryError(what, where=str(above), hint="Choose another folder with --runs.")


def create(run: RunDirectory, files: dict[str, Any], *, overwrite: bool) -> int:
    """Make the directory with its first files; return its inode, for `check_made`.

    They are staged and renamed into place together, so a run directory always has them all. Raises
    RunDirectoryError when it exists, RunError when it cannot be written.
    """
    check_free(run, overwrite=overwrite)
    return make_whole(run.path, files, folders=("checkpoints", "predictions"), overwrite=overwrite)


def make_whole(path: Path, files: Mapping[str, Any], *, folders: Sequence[str] = (), overwrite: bool) -> int:
    """Stage a directory, move it to its place and return its inode; what it replaces is removed.

    `files` maps names to text, or to values for JSON. Raises RunDirectoryError if another process made the directory
    meanwhile, RunError if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_places(path.parent)
        with staged(path) as staging:
            for folder in folders:
                (staging / folder).mkdir()
            for name, value in files.items():
                write = write_text if isinstance(value, str) else write_json
                write(staging / name, value)
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
    except RunError as error:  # of a file in the hidden folder
        raise _not_made(path, error) from error
    return made


def _not_made(path: Path, error: RunError) -> RunError:
    """Return the error for a directory that was not made; the file that the system named no longer exists."""
    advice = "Choose" if error.hint is None else f"{error.hint.removesuffix('.')}, or choose"
    return RunError(error.message, where=str(path), hint=f"{advice} another folder with --runs; nothing was made.")


def exists_already(path: Path) -> RunDirectoryError:
    """Return the error for a place that is taken."""
    hint = f"Choose another --name, or pass --overwrite to replace it. {resume_hint(path)}"
    return RunDirectoryError("already exists", where=str(path), hint=hint)


def check_made(run: Directory, made: int) -> None:
    """Raise RunDirectoryError if another process has replaced the directory that `create` made."""
    if not run.path.is_dir() or run.path.stat().st_ino != made:
        raise RunDirectoryError(
            "was replaced by another process", where=str(run.path), hint="Choose another --name for one of the two."
        )


_LOCK = "ftcli.lock"
_MARK = ".ftcli-"
_NEW, _OLD = "new", "old"


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a hidden folder in which to make the directory `path`; what is left of it is removed. Raises OSError."""
    place, lock = _locked_place(path)
    try:
        (place / _NEW).mkdir()
        yield place / _NEW
    finally:
        _clear(place, path)
        lock.release()


def exchange(made: Path, path: Path) -> None:
    """Move a staged directory to its place, and what was there into the hidden folder. Raises OSError.

    Between the two renames neither is in place; if the process is killed then, `put_back` restores the old one.
    """
    if path.exists():
        path.rename(made.with_name(_OLD))
    made.rename(path)


def sweep_places(directory: Path) -> None:
    """Remove the hidden folders of dead processes, and restore what one of them was about to replace."""
    for place in directory.glob(f".*{_MARK}????????"):
        with suppress(OSError):
            place.rmdir()  # one that is not locked yet: its process makes another
    for lock_file in directory.glob(f".*{_MARK}????????/{_LOCK}"):
        lock = FileLock(lock_file, timeout=0)
        with suppress(Timeout, OSError, NotImplementedError), lock:
            place = lock_file.parent
            _clear(place, directory / place.name[1:].rpartition(_MARK)[0])


def put_back(path: Path) -> None:
    """Restore the directory that a killed process was about to replace, if that is why `path` is missing.

    `path` may also be a file in that directory. What else dead processes left next to it is removed.
    """
    for part in (*reversed(path.absolute().parents), path.absolute()):
        if not os.path.lexists(part):
            with suppress(OSError):  # the reader of the path reports better what is wrong with it
                sweep_places(part.parent)
            if not os.path.lexists(part):
                return


def _locked_place(path: Path) -> tuple[Path, FileLock]:
    """Make a hidden folder and lock it; if `sweep_places` of another process was faster, make another."""
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
    """Remove a hidden folder; the old directory in it is restored unless its successor is in place.

    If it cannot be, because the path is taken or cannot be renamed to, the folder stays: it has the only copy.
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
