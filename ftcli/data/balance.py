"""Owns how images are spread over the classes: imbalance, and classes too small to learn or to judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ftcli.data.dataset import Dataset
from ftcli.data.findings import Case, Finding, counted

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
    counts = class_counts(dataset, "train")
    ratio = imbalance(dataset)
    if ratio >= NOTABLE_IMBALANCE:
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield Finding(
            "warning",
            "imbalance",
            f"Class {most} has {ratio:.1f} times as many images in train as class {least} "
            f"({counts[most]:,} and {counts[least]:,}).",
            "Judge by balanced accuracy and macro F1, and set monitor: val_macro_f1.",
        )
    few = [
        Case((), f"{name}: {images or 'none'} in {split}")
        for split in dataset.splits
        for name, images in class_counts(dataset, split).items()
        if images < FEW_IMAGES
    ]
    if few:
        classes = counted(len(few), "class has", "classes have")
        yield Finding(
            "warning",
            "small-class",
            f"{classes} fewer than {FEW_IMAGES} images in a split: too few to learn from, or to tell how well it went.",
            "Add images; or raise data.val_fraction where val is cut from train.",
            tuple(few),
        )
