"""The directory of one recipe with several seeds: a run `seed-N` for each, and seeds.json about all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.errors import RunDirectoryError
from ftcli.phrases import resume_hint
from ftcli.records import SCHEMA
from ftcli.runs.create import check_free, make_whole
from ftcli.runs.directory import SEEDS_SUMMARY, Directory, FileOf, RunDirectory
from ftcli.runs.files import damaged, read_json, write_json
from ftcli.runs.lock import exclusive

_NOTHING: Mapping[str, Any] = {"finished": False, "metrics": {}}


class SeedsDirectory(Directory):
    """The runs of several seeds and their common files, whether or not they exist yet."""

    kind = "the directory of several seeds"
    marks = (SEEDS_SUMMARY,)
    recipe = FileOf("recipe.yaml")  # the recipe of all runs, and the seeds
    summary = FileOf(SEEDS_SUMMARY)  # the seeds, and every metric's mean and spread over the finished runs

    def run(self, seed: int) -> RunDirectory:
        """Return the run of a seed."""
        return RunDirectory(self.path / f"seed-{seed}")

    def seeds(self) -> tuple[int, ...]:
        """Read the seeds. Raises RunDirectoryError if the file is damaged."""
        seeds = read_json(self.summary).get("seeds")
        if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds) or not seeds:
            raise damaged(self.summary, "does not list the seeds")
        return tuple(seeds)

    def runs(self) -> list[RunDirectory]:
        """Return the runs that have started, in the order of the seeds."""
        return [self.run(seed) for seed in self.seeds() if self.run(seed).path.is_dir()]

    def holds(self, path: Path, *, seed: int) -> bool:
        """Return whether a path is the run of this seed, not an unrelated run in the same folder."""
        return holds_seeds(self.path) and path == self.run(seed).path and seed in self.seeds()

    def write_summary(self, seeds: Sequence[int], found: Mapping[str, Any] = _NOTHING) -> None:
        """Write seeds.json, by default without results."""
        write_json(self.summary, self.summary_json(seeds, found))

    def summary_json(self, seeds: Sequence[int], found: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
        """Return the contents of seeds.json."""
        runs = [self.run(seed).path.name for seed in seeds]
        return {"schema": SCHEMA, "seeds": list(seeds), "runs": runs, **found}


def holds_seeds(path: Path) -> bool:
    """Return whether a directory holds the runs of several seeds."""
    return SeedsDirectory(path).has_its_marks()


@dataclass(frozen=True)
class RunsAt:
    """The runs at a path: itself, or those of several seeds; `awaited` ones have no results yet."""

    path: Path
    runs: tuple[Path, ...]
    awaited: tuple[Path, ...] = ()


def runs_at(path: Path) -> RunsAt:
    """Return the runs at a path. Raises RunDirectoryError if no seed has results yet."""
    if not holds_seeds(path):
        return RunsAt(path, (path,))
    directory = SeedsDirectory(path)
    runs = [directory.run(seed) for seed in directory.seeds()]
    there = tuple(run.path for run in runs if run.summary.is_file() or run.predictions("val").is_file())
    if not there:
        hint = resume_hint(path)
        raise RunDirectoryError("no seed has finished an epoch yet", where=str(path), hint=hint)
    return RunsAt(path, there, tuple(run.path for run in runs if run.path not in there))


def create_seeds(directory: SeedsDirectory, seeds: Sequence[int], recipe: str, *, overwrite: bool) -> int:
    """Make the directory with its first files; return its inode for `check_made`.

    With `overwrite`, replace an old one unless a run in it is being trained. Raises RunDirectoryError or RunError.
    """
    check_free(directory, overwrite=overwrite)
    files = {directory.recipe.name: recipe, directory.summary.name: directory.summary_json(seeds)}
    with ExitStack() as held:
        if directory.path.exists():
            held.enter_context(exclusive(directory))
            for run in directory.runs():
                held.enter_context(exclusive(run))
        return make_whole(directory.path, files, overwrite=overwrite)
