"""Findings: what the checks report about a dataset, with every case of it and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ftcli.data.inspection import BadImage
from ftcli.phrases import count, listed

Level = Literal["error", "warning", "info"]

_ALIKE = {"near-duplicate", "look-alike"}
_FILES_SHOWN = 4
_NOTICES_SHOWN = 3


@dataclass(frozen=True)
class Suspect:
    """A label that may be wrong, and the class that the image looks like, with its probability."""

    given: str
    suggested: str
    probability: float


@dataclass(frozen=True)
class Case:
    """One occurrence of a finding: its files, and a note about them.

    Files of one case are identical or alike. With `splits`, they are the images of one cluster instead, each with the
    split that holds it. A `suspect` label is of one file.
    """

    files: tuple[str, ...]
    note: str | None = None
    splits: tuple[str, ...] = ()
    suspect: Suspect | None = None

    @property
    def by_split(self) -> dict[str, list[str]]:
        """The files of each split, where `splits` names them."""
        found: dict[str, list[str]] = {}
        for name, split in zip(self.files, self.splits, strict=True):
            found.setdefault(split, []).append(name)
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """Read a case of `Finding.to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        note = value["note"]
        files, splits = (tuple(map(text, names)) for names in (value["files"], value.get("splits", ())))
        if splits and len(splits) != len(files):
            raise ValueError("a case has as many splits as files, or none")
        label = value.get("suspect")
        suspect = label and Suspect(text(label["given"]), text(label["suggested"]), float(label["probability"]))
        return cls(files, None if note is None else text(note), splits, suspect)

    def to_json(self) -> dict[str, Any]:
        """Return {"files", "note", "splits"}, and "suspect" where a label is one."""
        value = asdict(self)
        return value if self.suspect else {key: each for key, each in value.items() if key != "suspect"}


@dataclass(frozen=True)
class Finding:
    """One problem, what to do about it, and every case of it. Scripts identify it by its `code`."""

    level: Level
    code: str
    message: str
    advice: str
    cases: tuple[Case, ...] = ()

    @property
    def sign(self) -> str:
        """The sign to print between the files of a case: `=` for identical files, `~` for similar ones."""
        return "~" if self.code in _ALIKE else "="

    def to_json(self) -> dict[str, Any]:
        """Return {"level", "code", "message", "advice", "cases"}; for a case see `Case.to_json`."""
        return {**asdict(self), "cases": [case.to_json() for case in self.cases]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Finding:
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        level = next((each for each in get_args(Level) if each == value["level"]), None)
        if level is None:
            raise ValueError(f"unknown level {value['level']!r}")
        code, message, advice = (text(value[name]) for name in ("code", "message", "advice"))
        return cls(level, code, message, advice, tuple(map(Case.from_json, value["cases"])))


def text(value: object) -> str:
    """Return a text that was read from JSON, also if it is not UTF-8. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def with_level(findings: Sequence[Finding], *levels: Level) -> tuple[Finding, ...]:
    """Return the findings of some levels, in the order of the levels."""
    return tuple(finding for level in levels for finding in findings if finding.level == level)


def files_text(files: Sequence[str], *, sign: str = "=") -> str:
    """Return the first files of a case with the sign between them, and how many more there are."""
    more = len(files) - _FILES_SHOWN
    return f" {sign} ".join(files[:_FILES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def skipped_notices(skipped: Sequence[BadImage]) -> tuple[str, ...]:
    """Return one notice about the skipped images, or none."""
    if not skipped:
        return ()
    reasons = listed(f"{each.path}: {each.reason}" for each in skipped)
    are = count(len(skipped), "image that cannot be used is", "images that cannot be used are")
    return (f"{are} skipped, as data.on_bad_image says ({reasons})",)


def finding_notices(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return a notice for each of the gravest findings. None of them stops a run; `ftcli check` exits with 3."""
    grave = with_level(findings, "error", "warning")
    notices = []
    for finding in grave[:_NOTICES_SHOWN]:
        first = next(iter(finding.cases), None)
        example = f" First: {files_text(first.files, sign=finding.sign) or first.note}." if first is not None else ""
        notices.append(f"{finding.message}{example} {finding.advice}")
    if len(grave) > _NOTICES_SHOWN:
        more = count(len(grave) - _NOTICES_SHOWN, "more finding")
        notices.append(f"{more}; `ftcli check` lists them all")
    return tuple(notices)
