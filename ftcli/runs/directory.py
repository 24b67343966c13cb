"""The run directory: its file names, and reading it back."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from ftcli.errors import RunDirectoryError
from ftcli.phrases import resume_hint
from ftcli.recipe.yaml12 import load_yaml
from ftcli.records import EpochRecord, RunSummary, checked
from ftcli.runs.files import (
    append_line,
    check_hashes,
    damaged,
    ensure_text,
    hashes_of,
    json_hash,
    read_json,
    read_text,
    write_json,
)

SEEDS_SUMMARY = "seeds.json"
"""The file that marks a directory as holding the runs of several seeds."""

FORMAT_VERSION = 1
"""Version of the run directory's layout; other versions are refused."""

_TEXTS = (
    *("recipe.yaml", "plan.json", "dataset.json", "train.sha256", "weights.sha256", "environment.json"),
    *("metrics.jsonl", "predictions/val.csv"),
)
_WEIGHTS = ("checkpoints/best.safetensors", "checkpoints/last.safetensors")

OWN_FILES = frozenset({*_TEXTS, "summary.json", "mlflow.json", ".lock"})
"""Files that a run needs, besides those in OWN_FOLDERS; report.html can be made again."""

OWN_FOLDERS = frozenset({"checkpoints", "tensorboard"})
"""Folders that only the run itself writes to."""

_HINT = "Give the directory of a run made by ftcli train."


class FileOf:
    """A file or folder of a directory, by its name there; as an attribute of the directory it is a path."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, directory: Directory, _class: type) -> Path:
        return directory.path / self.name


@dataclass(frozen=True)
class Directory:
    """A run, or the directory of several seeds, whether or not it exists yet."""

    path: Path
    lock = FileOf(".lock")  # locked by the process that trains here
    kind: ClassVar[str]
    marks: ClassVar[tuple[str, ...]]  # the files by which the kind is recognised

    def has_its_marks(self) -> bool:
        """Return whether a directory of this kind exists."""
        return all((self.path / name).is_file() for name in self.marks)


class RunDirectory(Directory):
    """The files of one run, whether or not they exist yet."""

    kind = "a run directory"
    marks = ("recipe.yaml", "plan.json")
    recipe = FileOf("recipe.yaml")  # the resolved one
    plan = FileOf("plan.json")  # the phases and groups
    dataset = FileOf("dataset.json")  # classes, counts and content hash of every split
    train_images = FileOf("train.sha256")  # hash and name of every training image, in the format of sha256sum
    weights_images = FileOf("weights.sha256")  # the same of the images that the initial weights were trained on
    environment = FileOf("environment.json")  # versions, device, git commit and command line
    metrics = FileOf("metrics.jsonl")  # one EpochRecord a line
    summary = FileOf("summary.json")  # how the run ended; exists only for a finished run
    report = FileOf("report.html")  # written by `ftcli report`
    checkpoints = FileOf("checkpoints")  # the folder of all weights
    best = FileOf("checkpoints/best.safetensors")  # the checkpoint of the best epoch
    last = FileOf("checkpoints/last.safetensors")  # the checkpoint of the last epoch
    tensorboard = FileOf("tensorboard")  # the folder of TensorBoard's event files, if the recipe asks for them
    mlflow = FileOf("mlflow.json")  # the id of the MLflow run, if the recipe asks for one

    def resume(self, epoch: int) -> Path:
        """Return the file that a resume after an epoch needs besides the last checkpoint."""
        return self.checkpoints / f"resume.{epoch}.safetensors"

    def predictions(self, split: str) -> Path:
        """Return the file of the best checkpoint's predictions for a split."""
        return self.path / "predictions" / f"{split}.csv"

    def export(self, kind: str) -> Path:
        """Return the folder of the run's model as exported in a format."""
        return self.path / "export" / kind

    def append(self, record: EpochRecord) -> None:
        """Add one epoch to metrics.jsonl."""
        append_line(self.metrics, _line(record))

    def cut_back(self, records: Sequence[EpochRecord]) -> None:
        """Make metrics.jsonl hold exactly these epochs."""
        ensure_text(self.metrics, "".join(f"{_line(record)}\n" for record in records))

    def reopen(self) -> None:
        """Mark the run as unfinished."""
        self.summary.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)

    def records(self) -> Iterator[EpochRecord]:
        """Read the epochs back, without a last line that is incomplete because the process died.

        Raises RunDirectoryError naming the damaged line.
        """
        *lines, _ = read_text(self.metrics).split("\n")
        for number, line in enumerate(lines, start=1):
            try:
                record = EpochRecord.from_json(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise damaged(self.metrics, f"line {number} is not an epoch record: {error}") from error
            if record.epoch != number:
                raise damaged(self.metrics, f"line {number} has epoch {record.epoch}, not {number}")
            yield record

    def recipe_values(self) -> dict[str, Any]:
        """Read the resolved recipe as plain data."""
        value = load_yaml(read_text(self.recipe), str(self.recipe)).value
        if not isinstance(value, dict):
            raise damaged(self.recipe, "is not a mapping of keys")
        return value

    def read_summary(self) -> RunSummary:
        """Read how the run ended. Raises RunDirectoryError if the file is damaged."""
        try:
            return checked(RunSummary, self._summary_values())
        except ValueError as error:
            raise damaged(self.summary, str(error)) from error

    def finish(self, summary: RunSummary) -> None:
        """Mark the run as finished: write summary.json, with hashes of the run's files."""
        values = {**summary.to_json(), "files": hashes_of(self.path, (*_TEXTS, *_WEIGHTS))}
        write_json(self.summary, {**values, "sha256": json_hash(values)})

    def check_unchanged(self, *names: str) -> None:
        """Raise RunDirectoryError if the run is finished and one of these files has changed since."""
        if not self.summary.exists():
            return
        hashes = self._summary_values().get("files")
        if not isinstance(hashes, dict):
            raise damaged(self.summary, "does not list the run's files")
        check_hashes(self.path, {name: hashes[name] for name in names if name in hashes})

    def check_whole(self) -> None:
        """Raise RunDirectoryError if the run is finished and any of its files has changed since."""
        self.check_unchanged(*_TEXTS, *_WEIGHTS)

    def planned_epochs(self) -> int | None:
        """Read the number of planned epochs; None if the run has no such record."""
        try:
            epochs = [int(phase["epochs"]) for phase in self.facts(self.plan)["phases"]]
        except (KeyError, TypeError, ValueError):
            return None
        return sum(epochs)

    def training_images(self) -> str | None:
        """Read the hash of the training images; None if the run has no such record."""
        try:
            return str(self.facts(self.dataset)["splits"]["train"]["sha256"])
        except (KeyError, TypeError):
            return None

    def facts(self, file: Path) -> dict[str, Any]:
        """Read one of the JSON files; empty if an older run lacks it."""
        return read_json(file) if file.is_file() else {}

    def _summary_values(self) -> dict[str, Any]:
        """Read summary.json and check it against the hash that it contains."""
        values = read_json(self.summary)
        if values.pop("sha256", None) != json_hash(values):
            raise damaged(self.summary, "is damaged or was edited: checksum mismatch")
        return values


def default_name(recipe: Path, seed: int | tuple[int, ...], now: datetime) -> str:
    """Return a run's default name: recipe, time and seed, or the number of seeds."""
    last = f"s{seed}" if isinstance(seed, int) else f"{len(seed)}-seeds"
    return f"{recipe.stem}-{now:%Y%m%d-%H%M%S}-{last}"


def check_one_run(path: Path) -> None:
    """Raise RunDirectoryError for a directory of several seeds, which holds runs but is not one."""
    if (path / SEEDS_SUMMARY).is_file():
        runs = sorted(path.glob("seed-*"), key=lambda run: (len(run.name), run.name))
        hint = f"Give one of them: {', '.join(map(str, runs))}. ftcli compare and ftcli report take the directory."
        if not runs:
            hint = f"None of them has started. {resume_hint(path)}"
        raise RunDirectoryError("holds the runs of several seeds", where=str(path), hint=hint)


def near_run(path: Path) -> str | None:
    """Return the hint that names a run whose path is nearly this one, or the same in runs/; None without any."""
    if path.exists():
        return None
    try:
        there = [each for folder in {path.parent, path.parent / "runs"} for each in folder.glob("*/recipe.yaml")]
    except OSError:  # only the suggestion is lost
        return None
    names = {each.parent.name: each.parent for each in there}
    near = difflib.get_close_matches(path.name, sorted(names), n=1, cutoff=0.75)
    return f"Did you mean {names[near[0]]}?" if near else None


def open_run(path: Path) -> RunDirectory:
    """Return the run at `path`, finished or not.

    Raises RunDirectoryError if there is none, if its layout has another version, and if a file of a finished run is
    missing or has changed. Checkpoints are checked when they are loaded.
    """
    run = RunDirectory(path)
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise RunDirectoryError(what, where=str(path), hint=near_run(path) or _HINT)
    check_one_run(path)
    for file in (run.recipe, run.environment):
        if not file.is_file():
            raise RunDirectoryError(f"has no {file.name}", where=str(path), hint=_HINT)
    found = read_json(run.environment).get("format")
    if found != FORMAT_VERSION:
        raise RunDirectoryError(
            f"has format {found}; this ftcli reads format {FORMAT_VERSION}",
            where=str(run.environment),
            hint="Use the ftcli version that wrote the run.",
        )
    run.check_unchanged(*_TEXTS)
    return run


def _line(record: EpochRecord) -> str:
    return json.dumps(record.to_json(), allow_nan=False)
