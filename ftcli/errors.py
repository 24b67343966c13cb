"""Every error that ftcli raises on purpose, with its exit code, and what failures of the machine become.

FtcliError                      1   something failed while running
├── RunError                    1   training or writing failed
│   ├── NonFiniteLossError      1   the loss became NaN or infinite
│   ├── RunGoneError            1   the run directory was moved or removed during training
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

StoppedAtOnce is raised by a signal handler. It is not an Exception, so that no `except Exception` swallows it.
"""

from __future__ import annotations

import copy
import errno
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_PROBLEMS_SHOWN = 50
"""A file with more problems than this is not a recipe."""


def one_line(name: str) -> str:
    """Escape the line breaks in a file's name, so that a message stays on one line."""
    return name.replace("\n", "\\n")


class FtcliError(Exception):
    """A problem that the user can act on: what happened, where, and what to do next."""

    kind = "error"
    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def with_hint(self, hint: str) -> Self:
        """Return the same error with another hint, to be raised from this one."""
        other = copy.copy(self)
        other.hint = hint
        return other

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
    """The run directory was moved or removed during training."""

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
    """One thing wrong with a recipe: its key and place, what it is, and the nearest valid spelling."""

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
        lines = [str(problem) for problem in self.problems[:_PROBLEMS_SHOWN]]
        if len(self.problems) > _PROBLEMS_SHOWN:
            lines.append(f"and {len(self.problems) - _PROBLEMS_SHOWN:,} more")
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
    """Folders, splits or classes that cannot be read as a dataset."""

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
    """SIGINT or SIGTERM outside of training: it stops whatever is being done."""

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


# torch raises a class of its own for some of these and RuntimeError for the others, and may not be imported yet. So
# they are recognised by their messages.
_NO_MEMORY = re.compile(r"out of memory|can(no|')t allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE)
_AMOUNT = re.compile(r"allocate ([0-9.]+ ?[A-Za-z]+)")
_NO_SHARED_MEMORY = re.compile(r"shared memory|unable to (write to file|mmap).*torch_|Bus error", re.DOTALL)
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid.*?(?:by signal: ([A-Za-z ]+)|exited)", re.DOTALL)


def failure_of(error: Exception) -> FtcliError | None:
    """Return the error to show for a failure of the machine; None for any other exception, which is a bug."""
    if isinstance(error, OSError):
        return _failed_call(error)
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    text = str(error)
    # In this order: a worker that is killed for want of shared memory is reported as dead, too.
    if _NO_SHARED_MEMORY.search(text):
        hint = "Give the machine a larger /dev/shm (docker run --shm-size), or train with data.workers=0."
        return WorkerError("not enough shared memory for the processes that decode images", hint=hint)
    if dead := _DEAD_WORKER.search(text):
        return dead_worker(dead[1])
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        amount = _AMOUNT.search(text)
        hint = "Lower data.batch_size or data.image_size, freeze more groups, or close other programs."
        return OutOfMemoryError("out of memory" + (f" (tried to allocate {amount[1]})" if amount else ""), hint=hint)
    return None


def dead_worker(killed_by: str | None = None) -> WorkerError:
    """Return the error for a process that decoded images and died, of the named signal if one is known."""
    how = f"was killed by signal {killed_by.lower()}" if killed_by else "died"
    hint = "The kernel kills processes when memory runs out: free some, or train with fewer data.workers."
    return WorkerError(f"a process that decodes images {how}", hint=hint)


def _failed_call(error: OSError) -> FtcliError:
    """Return the error for a failed system call that no other part of ftcli has explained."""
    where = None if error.filename is None else str(error.filename)
    if error.errno == errno.ENAMETOOLONG:
        return UsageError("the name is too long", where=where, hint="Give a shorter path.")
    if error.errno == errno.ENOMEM:
        return OutOfMemoryError("out of memory", where=where, hint="Close other programs, or lower data.batch_size.")
    return RunError(error.strerror or str(error) or type(error).__name__, where=where)
