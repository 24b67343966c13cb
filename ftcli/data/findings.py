"""Owns findings: what a look at a dataset has brought to light, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Case:
    """One occurrence: the files that it is about, and what is to be said of them alone."""

    files: tuple[str, ...]
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return {"files", "note"}."""
        return {"files": list(self.files), "note": self.note}


@dataclass(frozen=True)
class Finding:
    """What was found, in a sentence, what to do about it, and every case of it. Scripts know it by its `code`."""

    level: Level
    code: str
    message: str
    advice: str
    cases: tuple[Case, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return {"level", "code", "message", "advice", "cases"}."""
        return {
            "level": self.level,
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "cases": [case.to_json() for case in self.cases],
        }


def counted(number: int, one: str, several: str) -> str:
    """Return a number with its noun and verb: "1 image is", "2 images are"."""
    return f"{number:,} {one if number == 1 else several}"


def with_level(findings: Sequence[Finding], *levels: Level) -> tuple[Finding, ...]:
    """Return the findings of some levels, in the order of the levels."""
    return tuple(finding for level in levels for finding in findings if finding.level == level)
