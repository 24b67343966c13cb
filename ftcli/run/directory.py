"""Owns the run directory: its file names, its creation, and reading it back."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ftcli.errors import RunDirectoryError, RunError
from ftcli.records import EpochRecord
from ftcli.run.files import append_line, write_json, write_text
from ftcli.yaml12 import load_yaml

FORMAT_VERSION = 1
"""The version of the run directory's layout; a reader refuses versions that it does not know."""


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run, whether or not they are there yet."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def plan(self) -> Path:
        """The phases and groups."""
        return self.path / "plan.json"

    @property
    def dataset(self) -> Path:
        """Classes, counts and content hash of every split."""
        return self.path / "dataset.json"

    @property
    def environment(self) -> Path:
        """Versions, device, git commit and command line."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """One EpochRecord a line."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """How the run ended; its presence says that it did."""
        return self.path / "summary.json"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.path / "checkpoints" / "last.safetensors"

    def predictions(self, split: str) -> Path:
        """Return where the best checkpoint's predictions of a split stand."""
        return self.path / "predictions" / f"{split}.csv"

    def append(self, record: EpochRecord) -> None:
        """Add one epoch to metrics.jsonl."""
        append_line(self.metrics, json.dumps(record.to_json(), allow_nan=False))

    def records(self) -> Iterator[EpochRecord]:
        """Read the epochs back. Raises RunDirectoryError naming the line that cannot be read."""
        for number, line in enumerate(_read(self.metrics).splitlines(), start=1):
            try:
                yield EpochRecord.from_json(json.loads(line))
            except (ValueError, TypeError) as error:
                raise RunDirectoryError(f"not an epoch record: {error}", where=f"{self.metrics}:{number}") from error

    def recipe_values(self) -> dict[str, Any]:
        """Read the resolved recipe as plain data."""
        value = load_yaml(_read(self.recipe), str(self.recipe)).value
        if not isinstance(value, dict):
            raise RunDirectoryError("not a mapping of keys", where=str(self.recipe))
        return value


def default_name(recipe: Path, seed: int, now: datetime) -> str:
    """Return the name of a run whose user chose none: recipe, time and seed."""
    return f"{recipe.stem}-{now:%Y%m%d-%H%M%S}-s{seed}"


def check_free(run: RunDirectory, *, overwrite: bool) -> None:
    """Raise RunDirectoryError when a run may not be made at this place."""
    if not run.path.exists() and not run.path.is_symlink():
        return
    if not overwrite:
        raise RunDirectoryError(
            "exists already",
            where=str(run.path),
            hint="Choose another --name, or pass --overwrite to replace it.",
        )
    if not run.recipe.is_file() or not run.plan.is_file():
        raise RunDirectoryError(
            "is not a run directory and is left alone", where=str(run.path), hint="Choose another --name."
        )


def create(run: RunDirectory, files: dict[str, Any], *, overwrite: bool) -> None:
    """Make the directory with its first files: name to text, or to a value for JSON.

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


def open_run(path: Path) -> RunDirectory:
    """Return the run at `path`. Raises RunDirectoryError where there is none."""
    run = RunDirectory(path)
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise RunDirectoryError(what, where=str(path), hint="Give the directory of a run made by ftcli train.")
    if not run.recipe.is_file():
        raise RunDirectoryError(
            f"has no {run.recipe.name}",
            where=str(path),
            hint="Give the directory of a run made by ftcli train.",
        )
    return run


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RunDirectoryError(f"cannot be read: {reason}", where=str(path)) from error
