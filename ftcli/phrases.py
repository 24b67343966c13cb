"""Counts, sizes, durations and short lists, worded the same in errors, notices, text and pages."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path


def count(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun, and its verb where one is given: "1 image is", "1,200 images are"."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def listed(names: Iterable[object], *, most: int = 5) -> str:
    """Join names with commas; of more than `most`, the first ones: "a, b, c and 3 more"."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def size(size_bytes: float) -> str:
    """Return an amount of storage in decimal units, as file managers and disks do: "3.2 GB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1000:.1f} kB"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: "42.0 s", "12.5 min", "3.1 h"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def resume_hint(run: Path) -> str:
    """Return the hint that names the command which resumes a run."""
    return f"Resume with: ftcli resume {shlex.quote(str(run))}"
