"""Wires gates to the file that CI servers read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftcli.evaluation.gates import Gate
from ftcli.report.junit import gates_junit
from ftcli.run.files import write_text


def write_junit(path: Path, gates: Sequence[Gate], *, suite: str) -> None:
    """Write gates as JUnit XML. Raises RunError where the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, gates_junit(gates, suite=suite))
