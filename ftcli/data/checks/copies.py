"""Owns exact copies: images of one content within a split, in several splits, or under several labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from ftcli.data.checks.findings import Case, Finding, Level, counted
from ftcli.data.dataset import Dataset, Sample


@dataclass(frozen=True)
class _Copies:
    """The images of one content, by split."""

    samples: Mapping[str, tuple[Sample, ...]]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(sample.name for samples in self.samples.values() for sample in samples)

    @property
    def labels(self) -> set[int]:
        return {sample.label for samples in self.samples.values() for sample in samples}

    def within(self, *splits: str) -> tuple[str, ...]:
        return tuple(sample.name for split in splits for sample in self.samples[split])


def duplicate_findings(dataset: Dataset, sha256_of: Mapping[str, str]) -> Iterator[Finding]:
    """Find images of the same content, from the hashes by name; images without one are passed over."""
    copies = _copies(dataset, sha256_of)
    yield from _conflicts(dataset, copies)
    for one, other in combinations(dataset.splits, 2):
        yield from _leak(dataset, copies, one, other)
    yield from _repeats(copies)


def in_several_splits(dataset: Dataset, one: str, other: str) -> str:
    """Return what to do about images that two splits share."""
    if dataset.val_fraction is not None and {one, other} == {"train", "val"}:
        return "Remove the copies, or name what belongs together with data.group_by: val was cut from the same folder."
    return f"Remove them from {one} or from {other}."


def _copies(dataset: Dataset, sha256_of: Mapping[str, str]) -> list[_Copies]:
    found: dict[str, dict[str, list[Sample]]] = {}
    for split, samples in dataset.splits.items():
        for sample in samples:
            if (sha256 := sha256_of.get(sample.name)) is not None:
                found.setdefault(sha256, {}).setdefault(split, []).append(sample)
    return [
        _Copies({split: tuple(samples) for split, samples in by_split.items()})
        for by_split in found.values()
        if sum(map(len, by_split.values())) > 1
    ]


def _conflicts(dataset: Dataset, copies: list[_Copies]) -> Iterator[Finding]:
    cases = tuple(
        Case(each.files, " and ".join(dataset.classes[label] for label in sorted(each.labels)))
        for each in copies
        if len(each.labels) > 1
    )
    if cases:
        yield Finding(
            "error",
            "label-conflict",
            f"{counted(len(cases), 'image has', 'images have')} more than one label.",
            "Keep each under its true label alone.",
            cases,
        )


def _leak(dataset: Dataset, copies: list[_Copies], one: str, other: str) -> Iterator[Finding]:
    cases = tuple(Case(each.within(one, other)) for each in copies if {one, other} <= each.samples.keys())
    level: Level = "error" if one == "train" else "warning"
    flattered = f"{other} looks better than it is" if one == "train" else f"{one} has seen {other}"
    if cases:
        yield Finding(
            level,
            "leak",
            f"{counted(len(cases), 'image is', 'images are')} in {one} and in {other}, so that {flattered}.",
            in_several_splits(dataset, one, other),
            cases,
        )


def _repeats(copies: list[_Copies]) -> Iterator[Finding]:
    cases = tuple(
        Case(each.within(split))
        for each in copies
        if len(each.labels) == 1  # of several labels, which copy is to go is another question
        for split, samples in each.samples.items()
        if len(samples) > 1
    )
    if cases:
        yield Finding(
            "warning",
            "duplicate",
            f"{counted(len(cases), 'image is', 'images are')} more than once in a split, and each copy counts.",
            "Remove the copies.",
            cases,
        )
