"""Owns the trackers of a run: opening those that the recipe names, and that none of them ever stops it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from ftcli.errors import InterruptedRunError, StoppedAtOnce, UsageError
from ftcli.records import EpochRecord, RunSummary
from ftcli.runs.directory import RunDirectory

_SHOWN_CHARACTERS = 300
"""How much of a tracker's error a notice repeats."""


class Tracker(Protocol):
    """Hears how a run goes, and may raise anything when it cannot keep it."""

    def begin(self, recipe: Mapping[str, Any], records: Sequence[EpochRecord]) -> None:
        """Hear that training begins, or goes on after `records`, of which it has to keep each once."""

    def epoch(self, record: EpochRecord) -> None:
        """Hear that an epoch is done and written down."""

    def finish(self, summary: RunSummary) -> None:
        """Hear that the run is finished, and its directory complete."""

    def stop(self, *, failed: bool) -> None:
        """Hear that the command ends before the run is finished."""


def check_installed(names: Sequence[str]) -> None:
    """Raise UsageError where a tracker's library, which is named as it is, is not installed; nothing is imported."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise UsageError(
            f"{' and '.join(missing)} cannot be found",
            where="tracking",
            hint=f"Install it with: pip install 'ftcli[{','.join(missing)}]'",
        )


def open_trackers(names: Sequence[str], run: RunDirectory, *, notice: Callable[[str], None]) -> Trackers:
    """Get trackers ready; of the run nothing is told or written then. Raises UsageError for one that cannot be used."""
    check_installed(names)
    return Trackers({name: _open(name, run) for name in names}, notice)


def _open(name: str, run: RunDirectory) -> Tracker:
    if name == "mlflow":
        from ftcli.tracking.mlflow import open_mlflow

        return open_mlflow(run)
    from ftcli.tracking.tensorboard import TensorBoardTracker

    return TensorBoardTracker(run)


class Trackers:
    """All trackers of one run. One that fails is told nothing more, which is a notice; the run goes on."""

    def __init__(self, trackers: Mapping[str, Tracker], notice: Callable[[str], None]) -> None:
        self._trackers = dict(trackers)
        self._notice = notice
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell that the command ends, where the run is not finished."""
        if not self._finished:
            failed = error is not None and not isinstance(error, (InterruptedRunError, StoppedAtOnce))
            self._tell(lambda tracker: tracker.stop(failed=failed))

    def begin(self, recipe: Mapping[str, Any], records: Sequence[EpochRecord]) -> None:
        """Tell that training begins, or goes on after `records`."""
        self._tell(lambda tracker: tracker.begin(recipe, records))

    def epoch(self, record: EpochRecord) -> None:
        """Tell that an epoch is written down."""
        self._tell(lambda tracker: tracker.epoch(record))

    def finish(self, summary: RunSummary) -> None:
        """Tell that the run is finished."""
        self._finished = True
        self._tell(lambda tracker: tracker.finish(summary))

    def _tell(self, say: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                say(tracker)
            except Exception as error:  # noqa: BLE001 - nothing that a tracker does may stop a run
                del self._trackers[name]
                self._notice(f"{name} is told nothing more, and the run goes on without it: {_sentence(error)}")


def _sentence(error: Exception) -> str:
    """Return the first line of an error, without the passwords that addresses may have."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r"//[^/@\s]+@", "//", lines[0])[:_SHOWN_CHARACTERS]
