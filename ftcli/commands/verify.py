"""`ftcli verify`: check an exported model on the machine that uses it, in a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftcli.commands.target import open_target
from ftcli.errors import GateError
from ftcli.records import SCHEMA
from ftcli.runs.export_directory import ExportedModel, read_export
from ftcli.runs.files import hashes_of


@dataclass(frozen=True)
class VerifyResult:
    """What was checked, and what is wrong: nothing, if the model is the one that was exported."""

    directory: Path
    golden: int
    largest_difference: float | None
    problems: tuple[str, ...]

    def raise_problems(self) -> None:
        """Raise GateError where anything is wrong."""
        if self.problems:
            hint = "Copy the whole directory again, or export the run again."
            raise GateError("\n  ".join(["does not verify:", *self.problems]), where=str(self.directory), hint=hint)

    def to_json(self) -> dict[str, Any]:
        """Return what `verify --json` prints."""
        return {
            "schema": SCHEMA,
            "directory": str(self.directory),
            "golden": self.golden,
            "largest_difference": self.largest_difference,
            "problems": list(self.problems),
        }


def verify(path: Path) -> VerifyResult:
    """Compare the files of an export with what was written, and run the golden images.

    Raises CheckpointError for what is no export, and UsageError without its runtime.
    """
    folder, model = read_export(path)
    problems = _changed_files(folder, model)
    if problems:  # a file that is not ours is not run
        return VerifyResult(folder, 0, None, problems)
    files = [folder / golden.file for golden in model.golden]
    scorer = open_target(folder).scorer(device="cpu", batch_size=None)
    largest = 0.0
    for golden, scored in zip(model.golden, scorer.label((file, file.name) for file in files), strict=True):
        if isinstance(scored, Exception):
            raise scored
        difference = float(np.abs(scored[1] - np.array(golden.probabilities)).max())
        largest = max(largest, difference)
        if difference > model.tolerance:
            got = model.classes[int(scored[1].argmax())]
            problems += (f"{golden.file}: {got} instead of {golden.predicted}, or off by {difference:.2g}",)
    return VerifyResult(folder, len(files), largest, problems)


def _changed_files(folder: Path, model: ExportedModel) -> tuple[str, ...]:
    found = hashes_of(folder, model.files)
    return tuple(
        f"{name}: {'checksum mismatch' if name in found else 'is missing'}"
        for name, digest in model.files.items()
        if found.get(name) != digest
    )
