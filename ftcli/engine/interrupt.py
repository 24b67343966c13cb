"""Owns being interrupted: the first SIGINT or SIGTERM is remembered until the batch is done, a second one stops.

Owns who watches a run: who hears what happens, how long it may take, and what stops it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from ftcli.errors import InterruptedRunError
from ftcli.plan import Plan
from ftcli.records import EpochRecord

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """The signal that asked this process to stop, if one did while it was listening."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the first SIGINT or SIGTERM; the second acts as it would have without.

        Outside the main thread, where Python allows no handlers, nothing is caught.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}

        def remember(number: int, _frame: FrameType | None) -> None:
            self.signal_number = number
            _restore(before)

        for number in _SIGNALS:
            signal.signal(number, remember)
        try:
            yield
        finally:
            _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Progress(Protocol):
    """Hears what happens while a run is trained."""

    def notice(self, sentence: str) -> None:
        """Hear something that the user should know."""

    def stage(self, sentence: str) -> None:
        """Hear what is being done before training."""

    def started(self, run: Path, plan: Plan) -> None:
        """Hear that the run directory is there."""

    def images(self, done: int, total: int) -> None:
        """Hear how many images have been checked, of how many."""

    def features(self, done: int, total: int) -> None:
        """Hear how many views of images the frozen part has been computed for, of how many."""

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        """Hear that a training batch is done."""

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """Hear that an epoch is done."""


@dataclass(frozen=True)
class Clock:
    """When the command began, in seconds of `time.monotonic`, and how many seconds it may take, if not any number."""

    started: float
    limit_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.started

    def from_now(self) -> Clock:
        """Return a clock that begins now and ends when this one does."""
        now = time.monotonic()
        return Clock(now, None if self.limit_seconds is None else self.started + self.limit_seconds - now)

    @property
    def is_up(self) -> bool:
        """Whether it has taken as long as it may."""
        return self.limit_seconds is not None and self.seconds >= self.limit_seconds


@dataclass(frozen=True)
class Supervision:
    """Who hears what happens to a run, and how long it may take."""

    progress: Progress
    clock: Clock


class OutOfTimeError(Exception):
    """The command has taken as long as it may; no failure."""


def stop_if_signalled(request: StopRequest, records: Sequence[EpochRecord]) -> None:
    """Raise InterruptedRunError, saying what is kept, when a signal has come."""
    if request.signal_number is not None:
        name = signal.Signals(request.signal_number).name
        raise InterruptedRunError(f"stopped by {name}; {kept_epochs(records)}", signal_number=request.signal_number)


def stop_if_asked(request: StopRequest, clock: Clock, records: Sequence[EpochRecord]) -> None:
    """Raise InterruptedRunError when a signal has come, OutOfTimeError when the time is up."""
    stop_if_signalled(request, records)
    if clock.is_up:
        raise OutOfTimeError


def kept_epochs(records: Sequence[EpochRecord]) -> str:
    """Say which epochs are written down, as part of a sentence."""
    return f"epochs 1 to {len(records)} are kept" if records else "no epoch was finished"
