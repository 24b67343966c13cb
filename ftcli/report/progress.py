"""Owns what a training run shows while it lasts: a live bar on a terminal, else one line per epoch, on stderr.

Owns the console for progress, which never stops what it tells of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ftcli.plan import Plan
from ftcli.records import EpochRecord
from ftcli.report.format import plain, printable
from ftcli.report.streams import let_go


class QuietProgress:
    """Shows nothing but notices, which say that something is not as it may seem."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.plan: Plan | None = None
        self._told: set[str] = set()

    def __enter__(self) -> QuietProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen in order."""

    def notice(self, sentence: str) -> None:
        """Print a warning, once: the runs of several seeds have the same ones."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._print(f"warning: {sentence}")

    def stage(self, sentence: str) -> None:
        """Say what is being done before training."""

    def started(self, run: Path, plan: Plan) -> None:  # noqa: ARG002 - the lines of a log name it
        """Remember the plan, for the number of epochs."""
        self.plan = plan

    def images(self, done: int, total: int) -> None:
        """Say how many images have been looked at."""

    def features(self, done: int, total: int) -> None:
        """Say for how many views the frozen part has been computed."""

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        """Say how far the epoch is."""

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """Say how the epoch did."""

    def _print(self, text: str) -> None:
        self.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class LineProgress(QuietProgress):
    """One line per stage and epoch, for logs."""

    def stage(self, sentence: str) -> None:
        """Say what is being done before training."""
        self._print(sentence)

    def started(self, run: Path, plan: Plan) -> None:
        """Say where the run goes."""
        super().started(run, plan)
        self._print(f"training into {run}")

    def features(self, done: int, total: int) -> None:
        """Say that the frozen part is being computed."""
        if done == 0:
            self._print(f"computing the frozen part once, for {total} views of images")

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """Print the epoch's line."""
        assert self.plan is not None
        width = len(str(self.plan.epochs))
        self._print(
            f"epoch {record.epoch:>{width}}/{self.plan.epochs} {record.phase}: "
            f"train loss {plain(record.train_loss, 4)} accuracy {record.train_accuracy:.4f}, "
            f"val loss {plain(record.val['loss'], 4)} accuracy {record.val['accuracy']:.4f}, "
            f"{record.seconds:.1f} s{' *' if best else ''}"
        )
        if record.probe is not None:
            self._print(
                f"L2 strength {record.probe.strength:.2g}, the best of {len(record.probe.trials)} in cross-validation "
                f"over {record.probe.folds} folds of train"
            )


@dataclass(frozen=True)
class _Bar:
    """Where a bar stands."""

    what: str = ""
    total: int | None = None
    done: int = 0


class LiveProgress(LineProgress):
    """A bar for the batches of the epoch at hand, below the lines of the finished ones."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task: TaskID | None = None
        self._shown = _Bar()

    def __enter__(self) -> LiveProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar off the screen."""
        self.bar.stop()

    def images(self, done: int, total: int) -> None:
        """Move the bar."""
        self._move("images", done, total)

    def features(self, done: int, total: int) -> None:
        """Move the bar."""
        self._move("features", done, total)

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        """Move the bar; after the last batch the epoch's end is awaited, which the scoring of val comes before."""
        if batch < batches:
            self._move(f"epoch {epoch}", batch, batches)
        else:
            self._begin(f"epoch {epoch}: scoring val", None)

    def _move(self, what: str, done: int, total: int) -> None:
        before = self._shown
        if (what, total) != (before.what, before.total) or done < before.done:  # train's features, then val's
            self._begin(what, total)
        assert self.task is not None
        self._shown = _Bar(what, total, done)
        self.bar.update(self.task, completed=done, steps=f"{done}/{total}")

    def _begin(self, what: str, total: int | None) -> None:
        """Put a bar of its own in the place of the last, so that the time that remains is of this one alone."""
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task, self._shown = self.bar.add_task(what, total=total, steps=""), _Bar(what, total)


def choose_progress(console: Console, *, quiet: bool) -> QuietProgress:
    """Return the bar for a terminal, lines for a log, and next to nothing for `--quiet`."""
    if quiet:
        return QuietProgress(console)
    return LiveProgress(console) if console.is_terminal else LineProgress(console)


class Screen(Console):
    """A console that falls silent once what it says cannot be written: its reader has gone, or its disk is full."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, if that is still possible."""
        try:
            super().print(*objects, **options)
        except OSError:
            self._fall_silent()

    def on_broken_pipe(self) -> None:
        """Go on without a reader; rich would leave the program."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        self.quiet = True
        let_go(self.file)
