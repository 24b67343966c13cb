"""Owns which random version of an image an epoch sees: fixed views that repeat, or a fresh one every time."""

from __future__ import annotations

from dataclasses import dataclass

from ftcli.rng import stable_seed


@dataclass(frozen=True)
class FixedViews:
    """`count` versions of each image; epoch e uses view e mod `count`, whatever the run and its seed."""

    count: int

    def seed_of(self, sha256: str, *, epoch: int) -> int:
        """Return the seed of the draw that an epoch uses of an image."""
        return view_seed(sha256, view=epoch % self.count)


@dataclass(frozen=True)
class FreshViews:
    """A new version of each image in every epoch, from the run's seed."""

    seed: int

    def seed_of(self, sha256: str, *, epoch: int) -> int:
        """Return the seed of the draw that an epoch uses of an image."""
        return stable_seed("fresh view", self.seed, epoch, sha256)


Views = FixedViews | FreshViews


def view_seed(sha256: str, *, view: int) -> int:
    """Return the seed of one fixed view of the image with this content."""
    return stable_seed("fixed view", sha256, view)
