"""Owns how many of the images that are scored a network has met before, which makes its figures too good."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Seen:
    """How many of `images` the network was trained on, and how many chose its best epoch; None where nobody knows."""

    images: int
    trained_on: int | None
    chose_epoch: int | None

    def to_json(self) -> dict[str, int | None]:
        """Return the counts as plain data."""
        return {name: count for name, count in asdict(self).items() if name != "images"}


def count_among(known: Collection[str] | None, sha256: Sequence[str]) -> int | None:
    """Return how many images have a content that is known; None where none is listed."""
    return None if known is None else sum(each in known for each in sha256)
