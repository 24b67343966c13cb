"""The real command line in a separate process, with a fault injected into it.

The process is forked, so that it need not import torch again: every fault costs half a second and not four.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ftcli.cli.app import main
from helpers.support import Outcome

Fault = Callable[[], object]


@dataclass(frozen=True)
class Child:
    """A running call of the command line in a forked process."""

    pid: int
    out: Path
    err: Path

    def runs(self) -> bool:
        """Return whether the process has not ended; its end remains to be waited for."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self) -> Outcome:
        """Wait for its end; the exit code of a killed process is the negated number of the signal."""
        _, status = os.waitpid(self.pid, 0)
        outcome = Outcome(os.waitstatus_to_exitcode(status), self.out.read_text(), self.err.read_text())
        assert "Traceback" not in outcome.err, outcome.err
        assert "bug in ftcli" not in outcome.err, outcome.err
        return outcome


class Launch:
    """Starts the command line in forked processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def start(self, *arguments: object, fault: Fault | None = None) -> Child:
        """Start a call; `fault` is called in the process, just before the command line."""
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        pid = os.fork()
        if pid:
            return Child(pid, out, err)
        code = 99
        try:
            for path, descriptor in ((out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), descriptor)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            sys.argv = ["ftcli", *map(str, arguments)]
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if fault is not None:
                fault()
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        except BaseException:  # noqa: BLE001 - the child must not run the parent's code
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)

    def __call__(self, *arguments: object, fault: Fault | None = None, code: int | None = 0) -> Outcome:
        """Run a call to its end."""
        outcome = self.start(*arguments, fault=fault).wait()
        assert code is None or outcome.code == code, f"exit code {outcome.code}: {outcome.err}"
        return outcome
