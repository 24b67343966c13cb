"""Signals and time limits: what may stop a command, and when it looks whether it should stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], None]


def on_signals(stop: Handler) -> None:
    """Call `stop` on SIGINT and SIGTERM, except for one that the caller of the command has chosen to ignore."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM while the process exits, which takes a second, so that the last message is the last."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


class StopRequest:
    """The signal that asked this process to stop, if one came while it was listening."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Remember the first SIGINT or SIGTERM; a second one acts as it would have without.

        Outside the main thread, where Python allows no handlers, nothing is caught.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in STOPPING}

        def remember(number: int, _frame: FrameType | None) -> None:
            self.signal_number = number
            _restore(before)

        for number in STOPPING:
            signal.signal(number, remember)
        try:
            yield
        finally:
            _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@dataclass(frozen=True)
class Deadline:
    """When a command began (`time.monotonic`, seconds), and after how many seconds it stops, if at all."""

    started: float
    limit_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """How long the command has taken so far."""
        return time.monotonic() - self.started

    @property
    def is_over(self) -> bool:
        """Whether the command has used up its time."""
        return self.limit_seconds is not None and self.seconds >= self.limit_seconds

    def from_now(self) -> Deadline:
        """Return a deadline that ends when this one does, and counts its seconds from now."""
        now = time.monotonic()
        return Deadline(now, None if self.limit_seconds is None else self.started + self.limit_seconds - now)


class OutOfTimeError(Exception):
    """The command has used up its time; not a failure."""
