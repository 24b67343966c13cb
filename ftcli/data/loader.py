"""Owns the images of one split as they are loaded: labelled, and known by the hashes of their contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ftcli.data.class_folders import Sample


@dataclass(frozen=True, eq=False)
class Images:
    """The labelled images of one split, with the hashes of their contents."""

    samples: Sequence[Sample]
    sha256s: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a mistake of ours."""
        assert len(self.samples) == len(self.sha256s), "every sample has its hash"

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.samples)

    @cached_property
    def labels(self) -> Tensor:
        """The labels (N,) int64."""
        return torch.tensor([sample.label for sample in self.samples])

    @property
    def together(self) -> tuple[str, ...]:
        """What each image shares with those that are held out with it: its group, or else its content."""
        return tuple(sample.group or sha256 for sample, sha256 in zip(self.samples, self.sha256s, strict=True))
