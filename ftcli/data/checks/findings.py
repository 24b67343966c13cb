"""Owns findings: what a look at a dataset has brought to light, and what to do about it.

Owns what a user hears, in a few sentences, of the findings in a dataset and of the images that were left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ftcli.data.inspection import BadImage

Level = Literal["error", "warning", "info"]

_ALIKE = {"near-duplicate", "look-alike"}
_FILES = 4


@dataclass(frozen=True)
class Case:
    """One occurrence: the files that it is about, and what is to be said of them alone.

    Files of one case are the same image or alike, unless `splits` says in which split each of them is: then they are
    what these splits hold of one group.
    """

    files: tuple[str, ...]
    note: str | None = None
    splits: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return {"files", "note", "splits"}."""
        return {"files": list(self.files), "note": self.note, "splits": list(self.splits)}

    @property
    def by_split(self) -> dict[str, list[str]]:
        """The files of each split, where `splits` tells."""
        found: dict[str, list[str]] = {}
        for name, split in zip(self.files, self.splits, strict=True):
            found.setdefault(split, []).append(name)
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        note = value["note"]
        files, splits = (tuple(map(text, names)) for names in (value["files"], value.get("splits", ())))
        if splits and len(splits) != len(files):
            raise ValueError("a case has as many splits as files, or none")
        return cls(files, None if note is None else text(note), splits)


@dataclass(frozen=True)
class Finding:
    """What was found, in a sentence, what to do about it, and every case of it. Scripts know it by its `code`."""

    level: Level
    code: str
    message: str
    advice: str
    cases: tuple[Case, ...] = ()

    @property
    def sign(self) -> str:
        """What stands between the files of a case: they are the same, or alike."""
        return "~" if self.code in _ALIKE else "="

    def to_json(self) -> dict[str, Any]:
        """Return {"level", "code", "message", "advice", "cases"}."""
        return {
            "level": self.level,
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "cases": [case.to_json() for case in self.cases],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Finding:
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        level = next((each for each in get_args(Level) if each == value["level"]), None)
        if level is None:
            raise ValueError(f"{value['level']!r} is no level")
        code, message, advice = (text(value[name]) for name in ("code", "message", "advice"))
        return cls(level, code, message, advice, tuple(map(Case.from_json, value["cases"])))


def files_text(files: Sequence[str], *, sign: str = "=") -> str:
    """Return the first files of a case, with the sign between them, and how many more there are."""
    more = len(files) - _FILES
    return f" {sign} ".join(files[:_FILES]) + (f" and {more:,} more" if more > 0 else "")


def text(value: object) -> str:
    """Return a text that was read from JSON; names that are not UTF-8 stay as they are. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def counted(number: int, one: str, several: str) -> str:
    """Return a number with its noun and verb: "1 image is", "2 images are"."""
    return f"{number:,} {one if number == 1 else several}"


def with_level(findings: Sequence[Finding], *levels: Level) -> tuple[Finding, ...]:
    """Return the findings of some levels, in the order of the levels."""
    return tuple(finding for level in levels for finding in findings if finding.level == level)


_SHOWN = 5
_FINDINGS_SHOWN = 3


def skipped_notices(skipped: Sequence[BadImage]) -> tuple[str, ...]:
    """Return a sentence on the images that were left out, or none."""
    if not skipped:
        return ()
    named = "; ".join(f"{each.path}: {each.reason}" for each in skipped[:_SHOWN])
    more = f"; and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    are = "1 image that cannot be used is" if len(skipped) == 1 else f"{len(skipped)} images that cannot be used are"
    return (f"{are} left out, as data.on_bad_image says ({named}{more})",)


def finding_notices(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return a sentence for each of the gravest findings. None of them stops a run: `ftcli check` is the gate."""
    grave = with_level(findings, "error", "warning")
    sentences = []
    for finding in grave[:_FINDINGS_SHOWN]:
        first = next(iter(finding.cases), None)
        example = f" First: {files_text(first.files, sign=finding.sign) or first.note}." if first is not None else ""
        sentences.append(f"{finding.message}{example} {finding.advice}")
    if len(grave) > _FINDINGS_SHOWN:
        sentences.append(f"{len(grave) - _FINDINGS_SHOWN} more findings; `ftcli check` lists them all")
    return tuple(sentences)
