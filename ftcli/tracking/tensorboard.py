"""Logging to TensorBoard: event files in the run directory, one per command that trained the run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftcli.records import EpochRecord, RunSummary
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import read_text
from ftcli.tracking.figures import EPOCH_MARK, best_figures, epoch_figures, flat_recipe


class TensorBoardTracker:
    """Writes event files; each event is written, and its file closed, before the next."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._files = 0

    def begin(self, recipe: Mapping[str, Any], records: Sequence[EpochRecord]) -> None:
        """Start a new file after the last epoch that both the earlier files and the run have."""
        before = sorted(self._run.tensorboard.glob("*tfevents*"))
        logged = min(max(_epochs_in(before), default=0), len(records))
        self._run.tensorboard.mkdir(exist_ok=True)
        self._files = len(before) + 1
        self._file.touch(exist_ok=False)
        self._write(file_version="brain.Event:2")
        if before:
            from tensorboard.compat.proto.event_pb2 import SessionLog

            # Readers discard what earlier files have from this step on.
            self._write(step=logged + 1, session_log=SessionLog(status=SessionLog.START))
        else:
            self._write_recipe(recipe)
        for record in records[logged:]:
            self.epoch(record)

    def epoch(self, record: EpochRecord) -> None:
        """Write an epoch's figures as one event."""
        self._write_figures(epoch_figures(record), step=record.epoch)

    def finish(self, summary: RunSummary) -> None:
        """Write the best epoch's figures, at the last epoch's step."""
        self._write_figures(best_figures(summary), step=summary.epochs)

    def stop(self, *, failed: bool) -> None:
        """Do nothing: a resume starts a new file."""

    @property
    def _file(self) -> Path:
        """This command's file; TensorBoard reads a folder's files in the order of their names."""
        return self._run.tensorboard / f"events.out.tfevents.{self._files:010}"

    def _write_recipe(self, recipe: Mapping[str, Any]) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(summary=hparams_pb(flat_recipe(recipe), trial_id=self._run.path.name))
        self._write(summary=text_pb("recipe", f"```yaml\n{read_text(self._run.recipe)}```"))

    def _write_figures(self, figures: Mapping[str, float], *, step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._write(step=step, summary=Summary(value=values))

    def _write(self, **what: Any) -> None:
        """Append an event. Raises OSError, which TensorBoard's own writers (threads) would hide."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self._file.open("ab") as file:
            RecordWriter(file).write(Event(wall_time=time.time(), **what).SerializeToString())


def _epochs_in(files: Sequence[Path]) -> Iterator[int]:
    """Yield the epochs in event files; an incomplete event at the end is skipped."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for file in files:
        for content in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(content)
            if any(value.tag == EPOCH_MARK for value in event.summary.value):
                yield event.step
