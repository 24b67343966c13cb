"""Owns the run directory: its file names, its creation, and reading it back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ftcli.errors import RunDirectoryError
from ftcli.recipe.yaml12 import load_yaml
from ftcli.records import EpochRecord, RunSummary
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
"""The file by which the directory of several seeds is known."""

FORMAT_VERSION = 1
"""The version of the run directory's layout; a reader refuses versions that it does not know."""

_TEXTS = (
    *("recipe.yaml", "plan.json", "dataset.json", "train.sha256", "environment.json"),
    *("metrics.jsonl", "predictions/val.csv"),
)
_WEIGHTS = ("checkpoints/best.safetensors", "checkpoints/last.safetensors")

OWN_FILES = frozenset({*_TEXTS, "summary.json", "mlflow.json", ".lock"})
"""What a run cannot do without, besides what stands in OWN_FOLDERS; report.html can be made again."""

OWN_FOLDERS = frozenset({"checkpoints", "tensorboard"})
"""The folders of a run that nobody else writes into."""

_HINT = "Give the directory of a run made by ftcli train."


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
    def train_images(self) -> Path:
        """The hash and name of every image of train, as sha256sum writes them."""
        return self.path / "train.sha256"

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
    def report(self) -> Path:
        """The page that `ftcli report` makes."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """The folder of all weights."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.checkpoints / "best.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.checkpoints / "last.safetensors"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files, where the recipe wants them."""
        return self.path / "tensorboard"

    @property
    def mlflow(self) -> Path:
        """The id of the run at MLflow, where the recipe wants one."""
        return self.path / "mlflow.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains this run, if one does."""
        return self.path / ".lock"

    def resume(self, epoch: int) -> Path:
        """Return where the rest of what a resume after an epoch needs stands."""
        return self.checkpoints / f"resume.{epoch}.safetensors"

    def predictions(self, split: str) -> Path:
        """Return where the best checkpoint's predictions of a split stand."""
        return self.path / "predictions" / f"{split}.csv"

    def append(self, record: EpochRecord) -> None:
        """Add one epoch to metrics.jsonl."""
        append_line(self.metrics, _line(record))

    def cut_back(self, records: Sequence[EpochRecord]) -> None:
        """Make metrics.jsonl hold these epochs and no other."""
        ensure_text(self.metrics, "".join(f"{_line(record)}\n" for record in records))

    def reopen(self) -> None:
        """Take back that the run is finished."""
        self.summary.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)

    def records(self) -> Iterator[EpochRecord]:
        """Read the epochs back; a last line that was still being written when the process died does not count.

        Raises RunDirectoryError naming the line that cannot be read.
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

    def recipe_text(self) -> str:
        """Read the resolved recipe as it stands."""
        return read_text(self.recipe)

    def recipe_values(self) -> dict[str, Any]:
        """Read the resolved recipe as plain data."""
        value = load_yaml(read_text(self.recipe), str(self.recipe)).value
        if not isinstance(value, dict):
            raise damaged(self.recipe, "is not a mapping of keys")
        return value

    def read_summary(self) -> RunSummary:
        """Read how the run ended. Raises RunDirectoryError, naming the file, where it is damaged."""
        try:
            return RunSummary.from_json(self._summary_values())
        except ValueError as error:
            raise damaged(self.summary, str(error)) from error

    def finish(self, summary: RunSummary) -> None:
        """Write summary.json, whose presence says that the run is done, with the hashes of the files it ends with."""
        values = {**summary.to_json(), "files": hashes_of(self.path, (*_TEXTS, *_WEIGHTS))}
        write_json(self.summary, {**values, "sha256": json_hash(values)})

    def check_unchanged(self, *names: str) -> None:
        """Raise RunDirectoryError where the run is finished and one of these files is not as it was then."""
        if not self.summary.exists():
            return
        hashes = self._summary_values().get("files")
        if not isinstance(hashes, dict):
            raise damaged(self.summary, "does not name the run's files")
        check_hashes(self.path, {name: hashes[name] for name in names if name in hashes})

    def check_whole(self) -> None:
        """Raise RunDirectoryError where the run is finished and a file that it ended with is not as it was then."""
        self.check_unchanged(*_TEXTS, *_WEIGHTS)

    def planned_epochs(self) -> int | None:
        """Read how many epochs the plan has; None where the run does not tell."""
        try:
            epochs = [int(phase["epochs"]) for phase in self.facts(self.plan)["phases"]]
        except (KeyError, TypeError, ValueError):
            return None
        return sum(epochs)

    def training_images(self) -> str | None:
        """Read the hash of what the run was trained on; None where the run does not tell."""
        try:
            return str(self.facts(self.dataset)["splits"]["train"]["sha256"])
        except (KeyError, TypeError):
            return None

    def facts(self, file: Path) -> dict[str, Any]:
        """Read one of the JSON files; what an older run lacks is empty."""
        return read_json(file) if file.is_file() else {}

    def _summary_values(self) -> dict[str, Any]:
        """Read summary.json, whose own hash stands in itself."""
        values = read_json(self.summary)
        if values.pop("sha256", None) != json_hash(values):
            raise damaged(self.summary, "is not what this run wrote: its hash is another")
        return values


def default_name(recipe: Path, seed: int | tuple[int, ...], now: datetime) -> str:
    """Return the name of a run whose user chose none: recipe, time and seed, or the number of seeds."""
    last = f"s{seed}" if isinstance(seed, int) else f"{len(seed)}-seeds"
    return f"{recipe.stem}-{now:%Y%m%d-%H%M%S}-{last}"


def check_one_run(path: Path) -> None:
    """Raise RunDirectoryError for the directory of several seeds, which is no run but holds some."""
    if (path / SEEDS_SUMMARY).is_file():
        runs = sorted(path.glob("seed-*"), key=lambda run: (len(run.name), run.name))
        hint = f"Give one of them: {', '.join(map(str, runs))}. ftcli compare and ftcli report take the directory."
        if not runs:
            hint = f"None of them has begun. Train them: ftcli train --resume {shlex.quote(str(path))}"
        raise RunDirectoryError("holds the runs of several seeds", where=str(path), hint=hint)


def open_run(path: Path) -> RunDirectory:
    """Return the run at `path`, finished or not.

    Raises RunDirectoryError where there is none, where its layout is of another version, and where a file that a
    finished run had is missing, cut, edited or exchanged; checkpoints are checked when they are loaded.
    """
    run = RunDirectory(path)
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise RunDirectoryError(what, where=str(path), hint=_HINT)
    check_one_run(path)
    for file in (run.recipe, run.environment):
        if not file.is_file():
            raise RunDirectoryError(f"has no {file.name}", where=str(path), hint=_HINT)
    found = read_json(run.environment).get("format")
    if found != FORMAT_VERSION:
        raise RunDirectoryError(
            f"has format {found}; this ftcli reads format {FORMAT_VERSION}",
            where=str(run.environment),
            hint="Use the version of ftcli that wrote the run.",
        )
    run.check_unchanged(*_TEXTS)
    return run


def _line(record: EpochRecord) -> str:
    return json.dumps(record.to_json(), allow_nan=False)
