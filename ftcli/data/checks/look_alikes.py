"""Owns images of two splits that a network sees alike: crops, edits and other shots, which no hash of pixels finds.

An image is told when one image of the other split is at most 0.8 times as far from it as the next one is, the ratio of
Lowe (2004) for matching features. So there is no limit of distance to choose for each network and dataset; and where
many images are alike, as frames of one film are, none stands out and none is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.data.checks.copies import in_several_splits
from ftcli.data.checks.findings import Case, Finding, counted
from ftcli.data.dataset import Dataset

RATIO = 0.8
"""How far the nearest image may be at most, as a share of the distance to the second nearest."""

MIN_POOL = 20
"""With fewer images to be like, the nearest often stands out for no other reason than that there are few."""

Directions = NDArray[np.float32]
"""Unit vectors (N, C), or one (C,)."""

_PAIRS_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Sight:
    """How the network `model` sees images: a direction (C,) for each, by the SHA-256 of its content."""

    model: str
    directions: Mapping[str, Directions]

    def to_json(self) -> dict[str, Any]:
        """Return {"model", "images"}."""
        return {"model": self.model, "images": len(self.directions)}


def look_alike_findings(
    dataset: Dataset, seen: Sight, sha256_of: Mapping[str, str], *, known: Set[tuple[str, str]] = frozenset()
) -> Iterator[Finding]:
    """Find images of a later split that look like one of an earlier split, are not the same file and not `known`.

    `known` are pairs of names that were found otherwise. Images that the network has not seen are passed over, and so
    is an earlier split with fewer than MIN_POOL that it has.
    """
    for one, other in combinations(dataset.splits, 2):
        pool, wanted = (_by_content(dataset, split, seen, sha256_of) for split in (one, other))
        cases = _alike(pool, {sha256: name for sha256, name in wanted.items() if sha256 not in pool}, seen, known)
        if cases:
            yield Finding(
                "warning",
                "look-alike",
                f"{counted(len(cases), 'image', 'images')} of {other} may show what an image of {one} shows, which "
                f"{seen.model} finds far more like it than any other.",
                f"Look at them: crops, edits and other shots are leaks. {in_several_splits(dataset, one, other)}",
                cases,
            )


def standing_out(wanted: Directions, pool: Directions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each wanted direction (M, C) the position of the nearest of the pool (N, C), and the ratio (M,).

    That is its distance over the distance to the second nearest; 1 where both are the same, or there is no second.
    """
    nearest, ratios = np.zeros(len(wanted), np.int64), np.ones(len(wanted))
    if len(pool) < 2:
        return nearest, ratios
    rows = max(_PAIRS_AT_ONCE // len(pool), 1)
    for start in range(0, len(wanted), rows):
        apart = 1 - (wanted[start : start + rows] @ pool.T).astype(np.float64)
        two = np.argpartition(apart, 1, axis=1)[:, :2]
        squares = np.take_along_axis(apart, two, axis=1).clip(min=0)
        second = squares.max(axis=1)
        nearest[start : start + rows] = two[np.arange(len(two)), squares.argmin(axis=1)]
        np.divide(squares.min(axis=1), second, out=ratios[start : start + rows], where=second > 0)
    return nearest, np.sqrt(ratios)


def _by_content(dataset: Dataset, split: str, seen: Sight, sha256_of: Mapping[str, str]) -> dict[str, str]:
    """Return the first name of each content in a split that the network has seen."""
    found: dict[str, str] = {}
    for sample in dataset.splits[split]:
        sha256 = sha256_of.get(sample.name)
        if sha256 is not None and sha256 in seen.directions:
            found.setdefault(sha256, sample.name)
    return found


def _alike(
    pool: Mapping[str, str], wanted: Mapping[str, str], seen: Sight, known: Set[tuple[str, str]]
) -> tuple[Case, ...]:
    """Return the wanted images that look like one of the pool, those that stand out most first."""
    if len(pool) < MIN_POOL or not wanted:
        return ()
    nearest, ratios = standing_out(_stacked(list(wanted), seen), _stacked(list(pool), seen))
    names, pool_names = list(wanted.values()), list(pool.values())
    pairs = [(pool_names[nearest[row]], names[row], ratios[row]) for row in np.argsort(ratios, kind="stable")]
    return tuple(
        Case((source, name), f"{ratio:.2f} times as far as the next")
        for source, name, ratio in pairs
        if ratio <= RATIO and (source, name) not in known
    )


def _stacked(sha256s: Sequence[str], seen: Sight) -> Directions:
    return np.stack([seen.directions[sha256] for sha256 in sha256s])
