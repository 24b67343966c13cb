"""Owns what can be said of a dataset from names and hashes alone: the checks that `train` makes as well.

Owns how images are spread over the classes: imbalance, and classes too small to learn or to judge.

Owns what is said of files that no class holds: images in the wrong place or format, and anything else.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ftcli.data.checks.copies import duplicate_findings
from ftcli.data.checks.findings import Case, Finding, counted
from ftcli.data.class_folders import IMAGE_EXTENSIONS, is_image
from ftcli.data.dataset import VAL, Dataset
from ftcli.data.decoding import CONVERT_HEIC
from ftcli.data.inspection import SKIP_THEM, BadImage
from ftcli.data.val_split import SplitGroup, groups_in_several_splits


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


NOTABLE_IMBALANCE = 5.0
"""From this ratio of the largest class of train to the smallest on, accuracy hides how the small ones fare."""

FEW_IMAGES = 10
"""With fewer images of a class, one of them moves its recall by more than 10 points."""


def class_counts(dataset: Dataset, split: str) -> dict[str, int]:
    """Return the images of every class in a split."""
    counts = Counter(sample.label for sample in dataset.splits[split])
    return {name: counts[label] for label, name in enumerate(dataset.classes)}


def imbalance(dataset: Dataset) -> float:
    """Return how many times as many images the largest class of train has as the smallest."""
    counts = class_counts(dataset, "train").values()
    return max(counts) / max(min(counts), 1)


def balance_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find imbalance in train, and classes with few images in any split."""
    if imbalance(dataset) >= NOTABLE_IMBALANCE:
        yield Finding(
            "warning",
            "imbalance",
            _imbalance_sentence(dataset),
            "Judge by balanced accuracy and macro F1, and set monitor: val_macro_f1.",
        )
    few = [
        (name, split, images)
        for split in dataset.splits
        for name, images in class_counts(dataset, split).items()
        if images < FEW_IMAGES
    ]
    if few:
        classes = counted(len({name for name, _, _ in few}), "class has", "classes have")
        cut = dataset.val_fraction is not None and any(split == VAL for _, split, _ in few)
        yield Finding(
            "warning",
            "small-class",
            f"{classes} fewer than {FEW_IMAGES} images in a split: too few to learn from, or to tell how well it went.",
            "Add images; or raise data.val_fraction, which gives val more of train." if cut else "Add images.",
            tuple(Case((), f"{name}: {images or 'none'} in {split}") for name, split, images in few),
        )


def _imbalance_sentence(dataset: Dataset) -> str:
    counts = class_counts(dataset, "train")
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if not counts[least]:
        return f"Class {least} has no image in train that can be used, and class {most} has {counts[most]:,}."
    return (
        f"Class {most} has {imbalance(dataset):.1f} times as many images in train as class {least} "
        f"({counts[most]:,} and {counts[least]:,})."
    )


_OTHER_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".tga", ".ico", ".psd", ".svg", ".dng", ".cr2", ".nef", ".arw"}
)
"""Extensions of images that do not count as such here."""


_HEIC = frozenset({".heic", ".heif"})


def stray_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find files and folders below the dataset's root that hold no labelled image."""
    misplaced = [path for path in dataset.strays if is_image(path.name)]
    unread = [path for path in dataset.strays if path.suffix.lower() in _OTHER_IMAGES]
    others = [path for path in dataset.strays if path not in {*misplaced, *unread}]
    if misplaced:
        yield Finding(
            "warning",
            "no-label",
            f"{counted(len(misplaced), 'image lies', 'images lie')} beside the class folders, and so without a label.",
            "Move them into class folders.",
            _cases(dataset, misplaced),
        )
    if unread:
        heic = any(path.suffix.lower() in _HEIC for path in unread)
        yield Finding(
            "warning",
            "unread-format",
            f"{counted(len(unread), 'file', 'files')} of an extension that is not read may be images.",
            f"Convert what is wanted: images are {' '.join(sorted(IMAGE_EXTENSIONS))}."
            + (f" HEIC: {CONVERT_HEIC[0].lower()}{CONVERT_HEIC[1:]}" if heic else ""),
            _cases(dataset, unread),
        )
    if others:
        yield Finding(
            "info",
            "stray",
            f"{counted(len(others), 'file or folder is', 'files or folders are')} of no class, and left out.",
            "Nothing need be done.",
            _cases(dataset, others),
        )


def _cases(dataset: Dataset, paths: list[Path]) -> tuple[Case, ...]:
    return tuple(Case((path.relative_to(dataset.root).as_posix(),)) for path in paths)
