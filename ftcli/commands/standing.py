"""Wires reading where a run stands: what its last checkpoint, and the files that follow from it, say of its epochs."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from ftcli.errors import RunDirectoryError
from ftcli.records import EpochRecord
from ftcli.report.format import count
from ftcli.runs.directory import RunDirectory
from ftcli.runs.reading import read_text

if TYPE_CHECKING:  # torch, which a wrong override must not wait for
    from ftcli.runs.checkpoint import Checkpoint
    from ftcli.runs.resume_state import ResumeState


class Point:
    """Where a run stands: its last checkpoint and the rest of what is known of that epoch, or neither."""

    def __init__(self, run: RunDirectory, checkpoint: Checkpoint | None, state: ResumeState | None) -> None:
        self.checkpoint, self.state = checkpoint, state
        self.records = () if state is None else (*_earlier(run, state.record.epoch - 1), state.record)

    @classmethod
    def read(cls, run: RunDirectory) -> Point:
        """Read a run. Raises CheckpointError or RunDirectoryError, naming the file that is missing or damaged."""
        from ftcli.runs.checkpoint import load_checkpoint
        from ftcli.runs.resume_state import load_state

        if not run.last.exists():
            _check_no_epoch(run)
            return cls(run, None, None)
        checkpoint = load_checkpoint(run.last)
        return cls(run, checkpoint, load_state(run, checkpoint.info.epoch))


def _check_no_epoch(run: RunDirectory) -> None:
    """Raise RunDirectoryError where the last checkpoint is gone rather than not yet written.

    A kill leaves nothing but the state of epoch 1 without it: all else of an epoch is written after it.
    """
    trace = _trace_of_epochs(run)
    if trace is not None:
        raise RunDirectoryError(
            f"is missing, though {trace}",
            where=str(run.last),
            hint="Without it the run cannot go on, and nothing was touched: restore it from a copy, or train a new run "
            "with the recipe.yaml of this one.",
        )


def _trace_of_epochs(run: RunDirectory) -> str | None:
    """Return what says that an epoch was finished, as part of a sentence."""
    text = read_text(run.metrics) if run.metrics.exists() else ""
    if text:
        return f"metrics.jsonl has {count(len(text.splitlines()), 'epoch')}"
    later = (path for path in run.checkpoints.glob("resume.*") if re.search(r"\.(?!1\.)\d+\.safetensors$", path.name))
    there = [path for path in (run.best, run.predictions("val"), run.summary, *later) if path.exists()]
    return f"{there[0].relative_to(run.path).as_posix()} is there" if there else None


def _earlier(run: RunDirectory, epochs: int) -> tuple[EpochRecord, ...]:
    """Return the records of the epochs before the last one; what follows them in the file does not count."""
    records = tuple(islice(run.records(), epochs)) if epochs else ()
    if [record.epoch for record in records] != list(range(1, epochs + 1)):
        raise RunDirectoryError(
            f"does not hold epochs 1 to {epochs}, one a line, though the last checkpoint is of epoch {epochs + 1}",
            where=str(run.metrics),
            hint="The file was cut or edited, so the run cannot be resumed.",
        )
    return records
