"""Owns how images are spread over the classes: imbalance, and classes too small to learn or to judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ftcli.data.checks.findings import Case, Finding, counted
from ftcli.data.dataset import VAL, Dataset

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
