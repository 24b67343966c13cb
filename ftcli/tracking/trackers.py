"""The trackers of a run: opening them, and keeping their failures from stopping the run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from ftcli.errors import InterruptedRunError, StoppedAtOnce, UsageError
from ftcli.phrases import first_line
from ftcli.records import EpochRecord, RunSummary
from ftcli.runs.directory import RunDirectory

if TYPE_CHECKING:
    from ftcli.tracking.mlflow import MlflowTracker
    from ftcli.tracking.tensorboard import TensorBoardTracker

    Tracker = MlflowTracker | TensorBoardTracker

_SHOWN_CHARACTERS = 300
"""Length at which a tracker's error is cut off in a notice."""


def check_installed(names: Sequence[str]) -> None:
    """Raise UsageError if a tracker's library, which has its name, is missing; import nothing."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise UsageError(
            f"not installed: {', '.join(missing)}",
            where="tracking",
            hint=f"Install with: pip install 'ftcli[{','.join(missing)}]'",
        )


def open_trackers(names: Sequence[str], run: RunDirectory, *, notice: Callable[[str], None]) -> Trackers:
    """Open trackers without logging anything yet. Raises UsageError for one that cannot be used."""
    check_installed(names)
    opened: dict[str, Tracker] = {}
    for name in names:
        if name == "mlflow":
            from ftcli.tracking.mlflow import open_mlflow

            opened[name] = open_mlflow(run)
        else:
            from ftcli.tracking.tensorboard import TensorBoardTracker

            opened[name] = TensorBoardTracker(run)
    return Trackers(opened, notice)


class Trackers:
    """All trackers of one run. One that raises any exception is disabled with a notice; training continues."""

    def __init__(self, trackers: Mapping[str, Tracker], notice: Callable[[str], None]) -> None:
        self._trackers = dict(trackers)
        self._notice = notice
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Log that the command ends, unless the run is finished."""
        if not self._finished:
            failed = error is not None and not isinstance(error, (InterruptedRunError, StoppedAtOnce))
            self._each(lambda tracker: tracker.stop(failed=failed))

    def begin(self, recipe: Mapping[str, Any], records: Sequence[EpochRecord]) -> None:
        """Log that training starts or resumes after `records`; log each of these once."""
        self._each(lambda tracker: tracker.begin(recipe, records))

    def epoch(self, record: EpochRecord) -> None:
        """Log an epoch, after the run directory has it."""
        self._each(lambda tracker: tracker.epoch(record))

    def finish(self, summary: RunSummary) -> None:
        """Log that the run is finished and its directory complete."""
        self._finished = True
        self._each(lambda tracker: tracker.finish(summary))

    def _each(self, log: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                log(tracker)
            except Exception as error:  # noqa: BLE001 - a tracker's failure must not stop a run
                del self._trackers[name]
                # An address may contain a password: http://user:password@host.
                reason = re.sub(r"//[^/@\s]+@", "//", first_line(error))[:_SHOWN_CHARACTERS]
                self._notice(f"{name} failed and was disabled; training continues: {reason}")
