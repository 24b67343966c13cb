"""Owns the directory of one recipe with several seeds: its runs, `seed-N` each, and the summary of them all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.errors import RunDirectoryError, RunError
from ftcli.records import SCHEMA
from ftcli.run.creation import check_parents
from ftcli.run.directory import SEEDS_SUMMARY, RunDirectory
from ftcli.run.files import write_json, write_text
from ftcli.run.reading import damaged, read_json


@dataclass(frozen=True)
class SeedsDirectory:
    """The files of the runs of several seeds, whether or not they are there yet."""

    path: Path

    @property
    def recipe(self) -> Path:
        """What all runs share, and the seeds."""
        return self.path / "recipe.yaml"

    @property
    def summary(self) -> Path:
        """The seeds, and every metric's mean and spread over those that are finished."""
        return self.path / SEEDS_SUMMARY

    def run(self, seed: int) -> RunDirectory:
        """Return the run of a seed."""
        return RunDirectory(self.path / f"seed-{seed}")

    def seeds(self) -> tuple[int, ...]:
        """Read the seeds. Raises RunDirectoryError, naming the file, where it is damaged."""
        seeds = read_json(self.summary).get("seeds")
        if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds) or not seeds:
            raise damaged(self.summary, "does not list the seeds")
        return tuple(seeds)

    def runs(self) -> list[RunDirectory]:
        """Return the runs that have begun, in the order of the seeds."""
        return [self.run(seed) for seed in self.seeds() if self.run(seed).path.is_dir()]

    def write_summary(self, seeds: Sequence[int], found: dict[str, Any]) -> None:
        """Write seeds.json."""
        runs = [self.run(seed).path.name for seed in seeds]
        write_json(self.summary, {"schema": SCHEMA, "seeds": list(seeds), "runs": runs, **found})


def holds_seeds(path: Path) -> bool:
    """Tell whether a directory holds the runs of several seeds."""
    return SeedsDirectory(path).summary.is_file()


def runs_at(path: Path) -> list[Path]:
    """Return the runs that a path stands for: those of every seed, or itself. Raises RunDirectoryError."""
    return [run.path for run in SeedsDirectory(path).runs()] if holds_seeds(path) else [path]


def check_seeds_free(directory: SeedsDirectory, *, overwrite: bool) -> None:
    """Raise RunDirectoryError when the runs may not be made at this place."""
    check_parents(directory.path)
    if not directory.path.exists() and not directory.path.is_symlink():
        return
    if not overwrite:
        hint = "Choose another --name, pass --overwrite to replace it, or go on with it: ftcli train --resume."
        raise RunDirectoryError("exists already", where=str(directory.path), hint=hint)
    if directory.path.is_symlink() or not holds_seeds(directory.path):
        raise RunDirectoryError(
            "does not hold runs of several seeds and is left alone",
            where=str(directory.path),
            hint="Choose another --name.",
        )


def create_seeds(directory: SeedsDirectory, seeds: Sequence[int], recipe: str, *, overwrite: bool) -> None:
    """Make the directory; what it replaces goes. Raises RunDirectoryError or RunError."""
    check_seeds_free(directory, overwrite=overwrite)
    try:
        if directory.path.exists():
            shutil.rmtree(directory.path)
        directory.path.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"cannot make the directory: {error.strerror}", where=str(directory.path)) from error
    directory.write_summary(seeds, {"finished": False, "metrics": {}})
    write_text(directory.recipe, recipe)


def remove_unused(directory: SeedsDirectory) -> None:
    """Remove a directory in which no run has begun."""
    if not directory.runs():
        shutil.rmtree(directory.path, ignore_errors=True)
