"""Wires gates to the file that CI servers read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftcli.records import Gate
from ftcli.report.gates import gates_junit
from ftcli.runs.files import write_text
from ftcli.runs.outputs import make_folder


def write_junit(path: Path, gates: Sequence[Gate], *, suite: str) -> None:
    """Write gates as JUnit XML to a path that `check_output` let pass. Raises RunError."""
    make_folder(path)
    write_text(path, gates_junit(gates, suite=suite))
