"""Owns what memory, workers and the operating system do to a command, as errors that say what to do next."""

from __future__ import annotations

import errno
import re

from ftcli.errors import FtcliError, OutOfMemoryError, RunError, UsageError, WorkerError

# torch has one class of its own for some of these, RuntimeError for the others, and may not have been imported.
_NO_MEMORY = re.compile(r"out of memory|can(no|')t allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE)
_AMOUNT = re.compile(r"allocate ([0-9.]+ ?[A-Za-z]+)")
_NO_SHARED_MEMORY = re.compile(r"shared memory|unable to (write to file|mmap).*torch_|Bus error", re.DOTALL)
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid.*?(?:by signal: ([A-Za-z ]+)|exited)", re.DOTALL)


def failure_of(error: Exception) -> FtcliError | None:
    """Return the error to show for a failure of the machine; None for any other exception."""
    text = str(error)
    if isinstance(error, OSError):
        return _failed_call(error)
    if isinstance(error, RuntimeError) and _NO_SHARED_MEMORY.search(text):
        hint = "Give the machine a larger /dev/shm (docker run --shm-size), or train anew with data.workers=0."
        return WorkerError("there is not enough shared memory for the processes that decode images", hint=hint)
    if isinstance(error, RuntimeError) and (dead := _DEAD_WORKER.search(text)):
        return dead_worker(f" by the signal {dead[1].lower()}" if dead[1] else "")
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        amount = _AMOUNT.search(text)
        wanted = f": {amount[1]} more were wanted" if amount else ""
        hint = "Lower data.batch_size or data.image_size, freeze more groups, or end other programs."
        return OutOfMemoryError(f"the memory ran out{wanted}", hint=hint)
    return None


def dead_worker(how: str = "") -> WorkerError:
    """Return the error for a process that decoded images and is gone; `how` begins with a blank."""
    hint = "The kernel kills processes where memory runs out: free some, or train anew with fewer data.workers."
    return WorkerError(f"a process that decodes images was ended{how}", hint=hint)


def _failed_call(error: OSError) -> FtcliError:
    """Return the error for what the operating system refused where no part of ftcli knows better."""
    where = None if error.filename is None else str(error.filename)
    if error.errno == errno.ENAMETOOLONG:
        return UsageError("the name is too long", where=where, hint="Give a shorter path.")
    if error.errno == errno.ENOMEM:
        return OutOfMemoryError("the memory ran out", where=where, hint="End other programs, or lower data.batch_size.")
    return RunError(error.strerror or str(error) or type(error).__name__, where=where)
