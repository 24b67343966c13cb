"""Owns making run directories: where one may go, and its first files, all of them or none."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ftcli.errors import RunDirectoryError, RunError
from ftcli.run.directory import RunDirectory
from ftcli.run.files import write_json, write_text


def check_free(run: RunDirectory, *, overwrite: bool) -> None:
    """Raise RunDirectoryError when a run may not be made at this place."""
    check_parents(run.path)
    if not run.path.exists() and not run.path.is_symlink():
        return
    if not overwrite:
        raise RunDirectoryError(
            "exists already",
            where=str(run.path),
            hint="Choose another --name, or pass --overwrite to replace it.",
        )
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
    staging: Path | None = None
    try:
        run.path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{run.path.name}.", dir=run.path.parent))
        staging.chmod(0o777 & ~_umask())
        _fill(staging, files)
        made = staging.stat().st_ino
        if overwrite and run.path.exists():
            replaced = staging / "replaced"
            run.path.rename(replaced)
            staging.rename(run.path)
            shutil.rmtree(run.path / replaced.name)
        else:
            staging.rename(run.path)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            check_free(run, overwrite=False)
        raise RunError(f"cannot make the run directory: {error.strerror}", where=str(run.path)) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return made


def check_made(run: RunDirectory, made: int) -> None:
    """Raise RunDirectoryError where the directory is no longer the one that `create` made, but another process's."""
    if not run.path.is_dir() or run.path.stat().st_ino != made:
        raise RunDirectoryError(
            "was replaced by another process", where=str(run.path), hint="Choose another --name for one of the two."
        )


def _fill(staging: Path, files: dict[str, Any]) -> None:
    for folder in ("checkpoints", "predictions"):
        (staging / folder).mkdir()
    for name, value in files.items():
        if isinstance(value, str):
            write_text(staging / name, value)
        else:
            write_json(staging / name, value)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
