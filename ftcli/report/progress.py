"""What a command shows while it works, on stderr: a live bar on a terminal, else lines for a log."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ftcli.records import EpochRecord
from ftcli.report.format import plain, printable
from ftcli.report.streams import let_go


class QuietProgress:
    """Shows nothing but warnings."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        """Leave the screen in order."""

    def notice(self, text: str) -> None:
        """Print a warning, once: the runs of several seeds have the same ones."""
        if text not in self._warned:
            self._warned.add(text)
            self._print(f"warning: {text}")

    def stage(self, text: str) -> None:
        """Report what is being done next."""

    def step(self, what: str, done: int, total: int | None) -> None:
        """Report how far it is."""

    def epoch(self, record: EpochRecord, *, epochs: int, best: bool) -> None:
        """Report a finished epoch."""

    def _print(self, text: str) -> None:
        self.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class LineProgress(QuietProgress):
    """One line per stage and epoch, for logs."""

    def stage(self, text: str) -> None:
        """Print what is being done next."""
        self._print(text)

    def epoch(self, record: EpochRecord, *, epochs: int, best: bool) -> None:
        """Print the figures of a finished epoch, with a star if it is the best so far."""
        self._print(
            f"epoch {record.epoch:>{len(str(epochs))}}/{epochs} {record.phase}: "
            f"train loss {plain(record.comparable_train_loss, 4)} accuracy {record.train_accuracy:.4f}, "
            f"val loss {plain(record.val['loss'], 4)} accuracy {record.val['accuracy']:.4f}, "
            f"{record.seconds:.1f} s{' *' if best else ''}"
        )
        if record.probe is not None:
            self._print(
                f"L2 strength {record.probe.strength:.2g}, the best of {len(record.probe.trials)} in cross-validation "
                f"over {record.probe.folds} folds of train"
            )


class LiveProgress(LineProgress):
    """A bar for the step at hand, below the lines of the finished ones."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        name, steps = TextColumn("{task.description}"), TextColumn("{task.fields[steps]}")
        self.bar = Progress(name, BarColumn(), steps, TimeRemainingColumn(), console=console, transient=True)
        self.task: TaskID | None = None
        self._shown: tuple[str, int | None] = ("", None)
        self._done = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        """Take the bar off the screen."""
        self.bar.stop()

    def step(self, what: str, done: int, total: int | None) -> None:
        """Move the bar; without a total, it swings.

        Each step has a bar of its own, so that the remaining time is of this one alone.
        """
        if self.task is None or (what, total) != self._shown or done < self._done:  # train's features, then val's
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task = self.bar.add_task(what, total=total, steps="")
        self._shown, self._done = (what, total), done
        if total is not None:
            self.bar.update(self.task, completed=done, steps=f"{done}/{total}")


def choose_progress(*, quiet: bool) -> QuietProgress:
    """Return what shows progress on stderr: a bar on a terminal, lines in a log, only warnings for `--quiet`."""
    console = Screen(stderr=True)
    if quiet:
        return QuietProgress(console)
    return LiveProgress(console) if console.is_terminal else LineProgress(console)


class Screen(Console):
    """A console that falls silent once its output cannot be written, so that output never breaks a run."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, if that is still possible."""
        try:
            super().print(*objects, **options)
        except OSError:
            self._fall_silent()

    def on_broken_pipe(self) -> None:
        """Continue without a reader, where rich would exit."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        self.quiet = True
        let_go(self.file)
