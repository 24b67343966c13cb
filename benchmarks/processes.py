"""Running a command in a separate process: wall time, processor time and peak memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLING_SECONDS = 0.1
"""Seconds between two samples of the memory of a process and its workers."""


@dataclass(frozen=True)
class Finished:
    """How a command ended and what it cost.

    `cpu_seconds` and `peak_rss_mib` include the workers that it waited for; the latter is that of the largest process.
    """

    out: str
    seconds: float
    cpu_seconds: float
    peak_rss_mib: float


class FailedCommandError(Exception):
    """A command ended with an unexpected exit code."""


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None, code: int = 0) -> Finished:
    """Run a command; raise FailedCommandError with its output for an exit code other than `code`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(environment or {})})
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode != code:
            raise FailedCommandError(f"exit code {child.returncode} of {' '.join(command)}\n{err.read()[-2000:]}")
        # Linux counts in KiB. A child starts with the peak of the process that forked it, so the caller must be small.
        return Finished(out.read(), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def run_watched(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> tuple[Finished, float]:
    """Run a command; return also the peak memory of all its processes in MiB, shared pages counted once.

    Looking costs time: not for commands that are timed.
    """
    over, peaks = threading.Event(), [0.0]

    def look() -> None:
        while not over.wait(SAMPLING_SECONDS):
            pids = _descendants(os.getpid()) - {os.getpid()}
            peaks[0] = max(peaks[0], sum(_proportional_mib(pid) for pid in pids))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        finished = run(command, environment=environment)
    finally:
        over.set()
        watcher.join()
    return finished, peaks[0]


def _descendants(root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _parent(entry)
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = {root}, [root]
    while waiting:
        new = children.get(waiting.pop(), [])
        found.update(new)
        waiting.extend(new)
    return found


def _parent(entry: Path) -> int | None:
    try:
        # The program's name, in brackets, may contain spaces.
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _proportional_mib(pid: int) -> float:
    """Return the proportional set size of a process: a page that n processes share counts 1/n in each."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
