"""What a run has done so far: its last checkpoint, and what other files say of the same epochs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ftcli.errors import RunDirectoryError
from ftcli.phrases import count
from ftcli.records import EpochRecord
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import read_text

if TYPE_CHECKING:  # torch, which a wrong override must not wait for
    from torch import Tensor

    from ftcli.runs.checkpoint import Checkpoint
    from ftcli.runs.resume_state import ResumeState


@dataclass(frozen=True, eq=False)
class Past:
    """The epochs of a run, its last checkpoint and the rest of what is known of that epoch; nothing for a new run."""

    records: tuple[EpochRecord, ...] = ()
    checkpoint: Checkpoint | None = None
    state: ResumeState | None = None

    @property
    def optimizer(self) -> Mapping[str, Tensor]:
        """The optimizer's state after the last epoch."""
        return {} if self.state is None else self.state.optimizer

    @property
    def seconds(self) -> float:
        """The wall time of the run, over all commands that worked on it."""
        return 0.0 if self.state is None else self.state.seconds

    @property
    def notices(self) -> tuple[str, ...]:
        """The warnings so far."""
        return () if self.state is None else self.state.notices


def read_past(run: RunDirectory) -> Past:
    """Read what a run has done. Raises CheckpointError or RunDirectoryError, naming the missing or damaged file."""
    from ftcli.runs.checkpoint import load_checkpoint
    from ftcli.runs.resume_state import load_state

    if not run.last.exists():
        _check_no_epoch(run)
        return Past()
    checkpoint = load_checkpoint(run.last)
    state = load_state(run, checkpoint.info.epoch)
    return Past((*_earlier(run, state.record.epoch - 1), state.record), checkpoint, state)


def _check_no_epoch(run: RunDirectory) -> None:
    """Raise RunDirectoryError if the last checkpoint was removed, rather than not written yet.

    A kill leaves nothing but the state of epoch 1 without it: all else of an epoch is written after it.
    """
    text = read_text(run.metrics) if run.metrics.exists() else ""
    later = (path for path in run.checkpoints.glob("resume.*") if re.search(r"\.(?!1\.)\d+\.safetensors$", path.name))
    there = [path for path in (run.best, run.predictions("val"), run.summary, *later) if path.exists()]
    if text:
        trace = f"metrics.jsonl has {count(len(text.splitlines()), 'epoch')}"
    elif there:
        trace = f"{there[0].relative_to(run.path).as_posix()} exists"
    else:
        return
    raise RunDirectoryError(
        f"is missing, although {trace}; nothing was changed",
        where=str(run.last),
        hint="Restore the file from a copy, or train a new run with the recipe.yaml of this one.",
    )


def _earlier(run: RunDirectory, epochs: int) -> tuple[EpochRecord, ...]:
    """Return the records of the epochs before the last one; what follows them in the file does not count."""
    records = tuple(islice(run.records(), epochs)) if epochs else ()
    if [record.epoch for record in records] != list(range(1, epochs + 1)):
        raise RunDirectoryError(
            f"does not hold epochs 1 to {epochs}, one per line, although the last checkpoint is of epoch {epochs + 1}",
            where=str(run.metrics),
            hint="The file is damaged or was edited: restore it from a copy, or train a new run.",
        )
    return records
