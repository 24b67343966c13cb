"""The command line: flags in, one call, one renderer, an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM)


def main() -> NoReturn:
    """Run the command line; a signal while it is still being imported, which takes a moment, ends in a sentence."""
    on_signals(_stop_importing)
    from ftcli.cli.app import main as run

    run()


def on_signals(stop: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Call this when the command is asked to stop."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # whoever started the command may want it so
            signal.signal(number, stop)


def _stop_importing(number: int, _frame: FrameType | None) -> NoReturn:
    if sys.stderr is not None:
        os.write(2, f"error: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
