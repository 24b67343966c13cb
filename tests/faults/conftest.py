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

import pytest
from helpers.support import Outcome

from ftcli.cli.app import main
from ftcli.runs.directory import open_run

Fault = Callable[[], object]


@dataclass(frozen=True)
class Child:
    """A running call of the command line in a forked process."""

    pid: int
    out: Path
    err: Path

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


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    return Launch(tmp_path)


@pytest.fixture
def recipe(tiny: Path) -> str:
    """Two epochs of a small network."""
    Path("recipe.yaml").write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 6, workers: 0, views: 2}}\n"
        "model: {name: squeezenet1_1, weights: none}\noptimizer: {kind: adam}\nepochs: 2\n"
        "strategy: {kind: fine-tune, lr: {head: 1e-2, features.12: 1e-3}}\n"
    )
    return "recipe.yaml"


class Runs:
    """Checks of run directories for tests of faults, as a fixture since tests are not a package."""

    @staticmethod
    def assert_valid(run: Path) -> None:
        """Check that every file of a stopped run can be read."""
        from ftcli.runs.checkpoint import load_checkpoint
        from ftcli.runs.predictions_file import read_predictions

        opened = open_run(run)
        records = list(opened.records()) if opened.metrics.exists() else []
        if opened.last.exists():
            assert load_checkpoint(opened.last).info.epoch - len(records) in {0, 1}
        if opened.best.exists():
            assert load_checkpoint(opened.best).info.epoch <= len(records)
        if opened.predictions("val").exists():
            assert len(read_predictions(opened.predictions("val"))) == 12


@pytest.fixture
def runs() -> type[Runs]:
    return Runs
