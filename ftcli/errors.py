"""Owns every error that ftcli raises on purpose, and the exit code of each.

FtcliError                      1   something failed while running
├── RunError                    1   training or writing failed
│   ├── NonFiniteLossError      1   the loss became NaN or infinite
│   ├── RunGoneError            1   the run is no longer where it was
│   ├── WeightsUnavailableError 1   pretrained weights could not be downloaded
│   ├── OutOfMemoryError        1   the memory of the machine or of the GPU ran out
│   └── WorkerError             1   a process that decodes images died
├── UsageError                  2   the command line or the recipe is wrong
│   ├── RecipeError             2   one or more keys or values of a recipe
│   ├── PlanError               2   strategy, groups and epochs do not fit together
│   ├── ModelError              2   an unknown model, or weights that do not fit it
│   ├── CheckpointError         2   a checkpoint that cannot be used
│   └── RunDirectoryError       2   a run directory that exists, is missing or is damaged
├── DataError                   3   the dataset
│   ├── DatasetError            3   folders, splits, classes
│   ├── ImageError              3   images that cannot be decoded
│   └── ComparisonError         3   runs that cannot be compared
├── GateError                   4   a gate failed
└── InterruptedRunError   130/143   stopped by a signal, after saving

StoppedAtOnce is what the signal itself raises. It is no Exception, so that nothing that catches those swallows it.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

_LISTED = 50
"""So many problems of a recipe are listed; a file with more is something else."""


def one_line(name: str) -> str:
    """Return a file's name such that it cannot end the line that it stands in."""
    return name.replace("\n", "\\n")


class FtcliError(Exception):
    """Something that the user can act upon: what was wrong, where, and what to do next."""

    kind = "error"
    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{one_line(self.where)}: {self.message}" if self.where else self.message
        return f"{text}\n{self.hint}" if self.hint else text


class RunError(FtcliError):
    """Training or writing failed."""

    kind = "run"


class NonFiniteLossError(RunError):
    """The loss became NaN or infinite."""

    kind = "non-finite-loss"


class RunGoneError(RunError):
    """The run that is being trained is no longer where it was."""

    kind = "run-gone"


class WeightsUnavailableError(RunError):
    """Pretrained weights could not be downloaded."""

    kind = "weights-unavailable"


class OutOfMemoryError(RunError):
    """The memory of the machine or of the GPU ran out."""

    kind = "out-of-memory"


class WorkerError(RunError):
    """A process that decodes images died."""

    kind = "worker"


class UsageError(FtcliError):
    """The command line or the recipe is wrong."""

    kind = "usage"
    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe: where it stands, what it is and the nearest valid spelling."""

    key: str
    message: str
    source: str = "recipe"
    line: int | None = None
    suggestion: str | None = None

    @property
    def where(self) -> str:
        """The place as `file:line`, or the override as it was typed."""
        return f"{self.source}:{self.line}" if self.line else self.source

    def __str__(self) -> str:
        text = f"{self.where}: {self.key}: {self.message}" if self.key else f"{self.where}: {self.message}"
        return f"{text} (did you mean {self.suggestion!r}?)" if self.suggestion else text


class RecipeError(UsageError):
    """All problems of a recipe's keys and values, at once."""

    kind = "recipe"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:_LISTED]]
        if len(self.problems) > _LISTED:
            lines.append(f"and {len(self.problems) - _LISTED} more")
        super().__init__("\n".join(lines))
        self.where = self.problems[0].where if len(self.problems) == 1 else self.problems[0].source

    def __str__(self) -> str:
        return self.message


class PlanError(UsageError):
    """Strategy, groups and epochs do not fit together."""

    kind = "plan"


class ModelError(UsageError):
    """An unknown model, or weights that do not fit it."""

    kind = "model"


class CheckpointError(UsageError):
    """A checkpoint that cannot be used."""

    kind = "checkpoint"


class RunDirectoryError(UsageError):
    """A run directory that exists already, is missing or is damaged."""

    kind = "run-directory"


class DataError(FtcliError):
    """The dataset cannot be used."""

    kind = "data"
    exit_code = 3


class DatasetError(DataError):
    """Folders, splits or classes are not as they must be."""

    kind = "dataset"


class ImageError(DataError):
    """One or more images cannot be decoded."""

    kind = "image"


class ComparisonError(DataError):
    """Runs that cannot be compared."""

    kind = "comparison"


class GateError(FtcliError):
    """A gate failed."""

    kind = "gate"
    exit_code = 4


class StoppedAtOnce(BaseException):
    """SIGINT or SIGTERM came while nobody listened for it, so that it stops whatever is being done."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.name = signal.Signals(signal_number).name


class InterruptedRunError(FtcliError):
    """Stopped by a signal, after saving."""

    kind = "interrupted"

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number
