"""Owns being interrupted: the first SIGINT or SIGTERM is remembered until the batch is done, a second one stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

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
