"""Checks of a dataset as a whole: layout, bad images, clusters, classes, balance, and files without a label."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ftcli.data.checks.findings import Case, Finding
from ftcli.data.class_folders import IMAGE_EXTENSIONS, is_image
from ftcli.data.dataset import TRAIN, VAL, Dataset
from ftcli.data.decoding import CONVERT_HEIC
from ftcli.data.inspection import SKIP_THEM, BadImage
from ftcli.data.val_split import clusters_in_several_splits
from ftcli.errors import DatasetError
from ftcli.phrases import count

NOTABLE_IMBALANCE = 5.0
"""From this ratio of the largest class of train to the smallest on, accuracy says little about the small classes."""

FEW_IMAGES = 10
"""With fewer images of a class, one of them moves its recall by more than 10 points."""

_ENOUGH_FOR_BOTH = 3 * FEW_IMAGES
"""With so many images of a class, val can have enough of them and train most."""

_OTHER_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".tga", ".ico", ".psd", ".svg", ".dng", ".cr2", ".nef", ".arw"}
)
"""Extensions of image files that are not read."""

_HEIC = frozenset({".heic", ".heif"})


def layout_findings(error: DatasetError | None, *, without_bad: bool = False) -> Iterator[Finding]:
    """Report folders that cannot be read as a dataset, possibly only after its bad images are left out."""
    if error is not None:
        start = "Without the bad images: " if without_bad else ""
        where = f"{error.where}: " if error.where else ""
        yield Finding("error", "layout", f"{start}{where}{error.message}", error.hint or "")


def bad_image_findings(bad: Sequence[BadImage], *, skipped: bool) -> Iterator[Finding]:
    """Report the images that cannot be used: a warning where the recipe skips them."""
    if bad:
        advice = " ".join(dict.fromkeys(each.advice for each in bad))
        yield Finding(
            "warning" if skipped else "error",
            "bad-image",
            f"{count(len(bad), 'image')} cannot be used"
            + (", and the recipe skips them." if skipped else "; `ftcli train` will refuse them."),
            advice if skipped else f"{advice} {SKIP_THEM}",
            tuple(Case((each.path,), each.reason) for each in bad),
        )


def cluster_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find clusters with images in several splits."""
    cases = []
    for cluster, by_split in clusters_in_several_splits(dataset.splits).items():
        placed = [(name, split) for split, names in by_split.items() for name in names]
        names, splits = zip(*placed, strict=True)
        cases.append(Case(names, f"group {cluster}", splits=splits))
    if cases:
        message = f"{count(len(cases), 'group of data.group_by is', 'groups of data.group_by are')} in several splits."
        advice = "Move the images of each to one split; `ftcli train` will refuse them."
        yield Finding("error", "group-leak", message, advice, tuple(cases))


def class_name_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find classes whose names differ only in case or Unicode form: perhaps one class, sorted twice."""
    spellings: dict[str, list[str]] = {}
    for name in dataset.classes:
        spellings.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    cases = [Case((), " and ".join(map(ascii, names))) for names in spellings.values() if len(names) > 1]
    if cases:
        message = (
            f"{count(len(cases), 'set of classes has names', 'sets of classes have names')} that differ only in "
            "case or Unicode form."
        )
        advice = "If they are one class, put the images into one folder; some systems cannot keep such folders apart."
        yield Finding("warning", "alike-classes", message, advice, tuple(cases))


def class_counts(dataset: Dataset, split: str) -> dict[str, int]:
    """Return the images of every class in a split."""
    counts = Counter(sample.label for sample in dataset.splits[split])
    return {name: counts[label] for label, name in enumerate(dataset.classes)}


def imbalance(dataset: Dataset) -> float:
    """Return the size of the largest class of train divided by that of the smallest."""
    counts = class_counts(dataset, "train").values()
    return max(counts) / max(min(counts), 1)


def imbalance_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find a large difference between the classes of train."""
    ratio = imbalance(dataset)
    if ratio < NOTABLE_IMBALANCE:
        return
    counts = class_counts(dataset, "train")
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[least]:
        message = (
            f"Class {most} has {ratio:.1f} times as many images in train as class {least} "
            f"({counts[most]:,} and {counts[least]:,})."
        )
    else:
        message = f"Class {least} has no usable image in train, and class {most} has {counts[most]:,}."
    # Measured on frozen features of 100 ants and 10 bees: balanced accuracy 84 %, and 93 % with only 10 of the ants.
    advice = (
        f"Add images of {least}; or leave out images of {most}, which costs it less recall than {least} gains. Judge "
        "by balanced accuracy and worst class recall, since a model that never predicts a rare class can have a high "
        "accuracy, and set monitor: val_macro_f1."
    )
    yield Finding("warning", "imbalance", message, advice)


def small_class_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find classes with few images in any split."""
    few = [
        (name, split, images)
        for split in dataset.splits
        for name, images in class_counts(dataset, split).items()
        if images < FEW_IMAGES
    ]
    if few:
        classes = count(len({name for name, _, _ in few}), "class has", "classes have")
        # A larger val_fraction takes from every class of train, so each must have enough for both. It adds to val only
        # where val is cut from train: with a val folder, the key is an error.
        in_train, in_val = (class_counts(dataset, split) for split in (TRAIN, VAL))
        enough = all(in_train[name] + in_val[name] >= _ENOUGH_FOR_BOTH for name in dataset.classes)
        can_cut_more = dataset.val_fraction is not None and enough and any(split == VAL for _, split, _ in few)
        yield Finding(
            "warning",
            "small-class",
            f"{classes} fewer than {FEW_IMAGES} images in a split: too few to learn from, or to measure.",
            "Add images; or raise data.val_fraction, to give val more of train." if can_cut_more else "Add images.",
            tuple(Case((), f"{name}: {images or 'none'} in {split}") for name, split, images in few),
        )


def unlabelled_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find files and folders below the dataset's root that hold no labelled image."""
    misplaced = [path for path in dataset.unlabelled if is_image(path.name)]
    unread = [path for path in dataset.unlabelled if path.suffix.lower() in _OTHER_IMAGES]
    known = {*misplaced, *unread}
    others = [path for path in dataset.unlabelled if path not in known]
    if misplaced:
        message = (
            f"{count(len(misplaced), 'image is', 'images are')} outside the class folders, and so without a label."
        )
        yield Finding("warning", "no-label", message, "Move them into class folders.", _file_cases(dataset, misplaced))
    if unread:
        has_heic = any(path.suffix.lower() in _HEIC for path in unread)
        heic = f" HEIC: {CONVERT_HEIC[0].lower()}{CONVERT_HEIC[1:]}" if has_heic else ""
        message = f"{count(len(unread), 'file')} with an extension that ftcli does not read may be images."
        advice = f"Convert those you need to one of {' '.join(sorted(IMAGE_EXTENSIONS))}.{heic}"
        yield Finding("warning", "unread-format", message, advice, _file_cases(dataset, unread))
    if others:
        message = f"{count(len(others), 'file or folder', 'files or folders')} outside the classes, and not used."
        yield Finding("info", "stray", message, "No action needed.", _file_cases(dataset, others))


def _file_cases(dataset: Dataset, paths: list[Path]) -> tuple[Case, ...]:
    return tuple(Case((path.relative_to(dataset.root).as_posix(),)) for path in paths)
