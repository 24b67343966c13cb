"""Owns what can be said of a dataset from names and hashes alone: the checks that `train` makes as well."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ftcli.data.balance import balance_findings
from ftcli.data.checks.copies import duplicate_findings
from ftcli.data.checks.findings import Case, Finding, counted
from ftcli.data.dataset import Dataset
from ftcli.data.grouping import SplitGroup, groups_in_several_splits
from ftcli.data.inspection import SKIP_THEM, BadImage


def content_findings(dataset: Dataset, sha256_of: Mapping[str, str]) -> tuple[Finding, ...]:
    """Find copies, groups in several splits, alike and small classes and imbalance, from hashes of images by name."""
    return (
        *duplicate_findings(dataset, sha256_of),
        *_leaking_groups(dataset),
        *_alike_classes(dataset),
        *balance_findings(dataset),
    )


def bad_image_findings(bad: Sequence[BadImage], *, skipped: bool) -> Iterable[Finding]:
    """Find what is wrong with the images that cannot be used; a recipe that skips them makes it a warning."""
    if bad:
        advice = " ".join(dict.fromkeys(each.advice for each in bad))
        yield Finding(
            "warning" if skipped else "error",
            "bad-image",
            f"{counted(len(bad), 'image', 'images')} cannot be used"
            + (", and the recipe skips them." if skipped else "; `ftcli train` will refuse them."),
            advice if skipped else f"{advice} {SKIP_THEM}",
            tuple(Case((each.path,), each.reason) for each in bad),
        )


def _alike_classes(dataset: Dataset) -> Iterable[Finding]:
    """Find classes whose names are one name in another spelling: a class whose images were sorted twice."""
    alike: dict[str, list[str]] = {}
    for name in dataset.classes:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    cases = [Case((), " and ".join(map(ascii, names))) for names in alike.values() if len(names) > 1]
    if cases:
        yield Finding(
            "warning",
            "alike-classes",
            f"{counted(len(cases), 'group of classes has names', 'groups of classes have names')} that differ only in "
            "capitals or in how letters are encoded.",
            "Put the images into one folder where they are of one class; some systems cannot tell such folders apart.",
            tuple(cases),
        )


def _leaking_groups(dataset: Dataset) -> Iterable[Finding]:
    groups = groups_in_several_splits(dataset.splits)
    if groups:
        yield Finding(
            "error",
            "group-leak",
            f"{counted(len(groups), 'group of data.group_by is', 'groups of data.group_by are')} in several splits.",
            "Move the images of each to one split; `ftcli train` will refuse them.",
            tuple(map(_case_of_group, groups)),
        )


def _case_of_group(group: SplitGroup) -> Case:
    placed = [(name, split) for split, names in group.images.items() for name in names]
    return Case(tuple(name for name, _ in placed), f"group {group.group}", splits=tuple(split for _, split in placed))
