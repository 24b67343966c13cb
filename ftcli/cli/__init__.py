"""The command line: flags in, one call, one renderer, an exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from ftcli.interrupt import on_signals


def main() -> NoReturn:
    """Run the command line. Signals end it cleanly even while imports are still running."""
    on_signals(_stop_importing)
    from ftcli.cli.app import main as run

    run()


def _stop_importing(number: int, _frame: FrameType | None) -> NoReturn:
    if sys.stderr is not None:
        os.write(2, f"error: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
