"""The contents of a dataset: images of every class and split, and histograms of their sizes and formats."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ftcli.data.checks.structure import class_counts, imbalance
from ftcli.data.dataset import Dataset
from ftcli.data.inspection import ImageFacts

SIDES = (32, 64, 128, 256, 512, 1024, 2048)
"""Where the bars of the histogram of shorter sides end, in pixels."""


@dataclass(frozen=True)
class Histograms:
    """Images by shorter side ("32-63"), mode, format and EXIF orientation, and the median size."""

    shorter_side: dict[str, int]
    mode: dict[str, int]
    format: dict[str, int]
    orientation: dict[str, int]
    median_width: int
    median_height: int


@dataclass(frozen=True)
class Contents:
    """Images of every class by split, the ratio of the largest class of train to the smallest, and histograms.

    Histograms count the images that can be decoded; None without any. `val_fraction` is the share of train that
    became val; None where val has a folder.
    """

    splits: Mapping[str, Mapping[str, int]]
    imbalance: float
    histograms: Histograms | None
    val_fraction: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return {"splits", "val_fraction", "imbalance", "histograms"}."""
        return {
            "splits": {
                name: {"images": sum(counts.values()), "per_class": counts} for name, counts in self.splits.items()
            },
            "val_fraction": self.val_fraction,
            "imbalance": self.imbalance,
            "histograms": self.histograms and asdict(self.histograms),
        }


def contents_of(dataset: Dataset, facts: Sequence[ImageFacts]) -> Contents:
    """Count a dataset's images by class, and those with facts by size and format."""
    return Contents(
        splits={split: class_counts(dataset, split) for split in dataset.splits},
        imbalance=round(imbalance(dataset), 3),
        histograms=_histograms(facts) if facts else None,
        val_fraction=dataset.val_fraction,
    )


def _histograms(facts: Sequence[ImageFacts]) -> Histograms:
    sides = Counter(_side_name(min(fact.width, fact.height)) for fact in facts)
    return Histograms(
        shorter_side={name: sides[name] for name in map(_side_name, (0, *SIDES)) if name in sides},
        mode=_by_frequency(fact.mode for fact in facts),
        format=_by_frequency(fact.format for fact in facts),
        orientation=_by_frequency(str(fact.orientation) for fact in facts),
        median_width=round(statistics.median(fact.width for fact in facts)),
        median_height=round(statistics.median(fact.height for fact in facts)),
    )


def _side_name(side: int) -> str:
    """Return the name of the bar that a side belongs to, such as "32-63"."""
    above = next((end for end in SIDES if side < end), None)
    if above is None:
        return f"{SIDES[-1]}+"
    position = SIDES.index(above)
    return f"{SIDES[position - 1] if position else 1}-{above - 1}"


def _by_frequency(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
