"""Look-alikes: images of two splits whose features are close, such as crops, edits and other shots of one scene.

An image is reported if one image of the other split is at most 0.8 times as far from it as the next one, the ratio of
Lowe (2004) for matching features. So no limit of distance must be chosen for each network and dataset; and where many
images are alike, as frames of one film are, none of them is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ftcli.data.checks.copies import in_several_splits, near_duplicate_findings
from ftcli.data.checks.findings import Case, Finding
from ftcli.data.checks.images import ImageCheck, fingerprints_of
from ftcli.data.dataset import Dataset
from ftcli.phrases import count

RATIO = 0.8
"""The largest distance to the nearest image, as a share of the distance to the second nearest."""

MIN_POOL = 20
"""In a split with fewer images, every nearest neighbour looks exceptional, so nothing is reported."""

Directions = NDArray[np.float32]
"""Unit vectors (N, C), or one (C,)."""

PAIRS_AT_ONCE = 2**24
"""Pairs that are compared in one step, so that memory does not grow with the dataset."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The directions (C,) of images in the features of the network `model`, by the SHA-256 of their content."""

    model: str
    directions: Mapping[str, Directions]


def cache_findings(problem: str | None) -> Iterator[Finding]:
    """Report that images were not compared by features because the cache failed."""
    if problem is not None:
        message = f"Images were not compared by features, since the cache cannot be used: {problem}."
        yield Finding("info", "cache-unread", message, "Make the cache writable, or set FTCLI_CACHE to another folder.")


def similar_findings(
    dataset: Dataset, images: Sequence[ImageCheck], embeddings: Embeddings | None, sha256_of: Mapping[str, str]
) -> Iterator[Finding]:
    """Find similar images of two splits: by their pixels, and then by features, where a pair is not known yet."""
    prints = fingerprints_of(images)
    copies = tuple(near_duplicate_findings(dataset, prints, sha256_of))
    yield from copies
    if embeddings is not None:
        known = {(case.files[0], case.files[1]) for finding in copies for case in finding.cases}
        # Images with too little detail for a hash have too little for this, too.
        detailed = {name: sha256_of[name] for name in prints}
        yield from look_alike_findings(dataset, embeddings, detailed, known=known)


def look_alike_findings(
    dataset: Dataset, embeddings: Embeddings, sha256_of: Mapping[str, str], *, known: Set[tuple[str, str]] = frozenset()
) -> Iterator[Finding]:
    """Find images of a later split that look like one of an earlier split, are not the same file and not `known`.

    `known` are pairs of names that another check has found. Images without an embedding are skipped, and so is an
    earlier split with fewer than MIN_POOL embeddings.
    """
    for one, other in combinations(dataset.splits, 2):
        pool, wanted = (_by_content(dataset, split, embeddings, sha256_of) for split in (one, other))
        new = {sha256: name for sha256, name in wanted.items() if sha256 not in pool}
        cases = _outstanding_cases(pool, new, embeddings, known)
        if cases:
            message = (
                f"{count(len(cases), 'image')} of {other} may show the same scene as an image of {one}, which is far "
                f"nearer than any other in the features of {embeddings.model}."
            )
            advice = f"Look at them: crops, edits and other shots are leaks. {in_several_splits(dataset, one, other)}"
            yield Finding("warning", "look-alike", message, advice, cases)


def _by_content(dataset: Dataset, split: str, embeddings: Embeddings, sha256_of: Mapping[str, str]) -> dict[str, str]:
    """Return the first name of each content in a split that has an embedding, by its hash."""
    found: dict[str, str] = {}
    for sample in dataset.splits[split]:
        sha256 = sha256_of.get(sample.name)
        if sha256 is not None and sha256 in embeddings.directions:
            found.setdefault(sha256, sample.name)
    return found


def _outstanding_cases(
    pool: Mapping[str, str], wanted: Mapping[str, str], embeddings: Embeddings, known: Set[tuple[str, str]]
) -> tuple[Case, ...]:
    """Return the wanted images that look like one of the pool, the most exceptional first."""
    if len(pool) < MIN_POOL or not wanted:
        return ()
    nearest, ratios = standing_out(_stacked(wanted, embeddings), _stacked(pool, embeddings))
    names, pool_names = list(wanted.values()), list(pool.values())
    cases = []
    for row in np.argsort(ratios, kind="stable"):
        pair = pool_names[nearest[row]], names[row]
        if ratios[row] <= RATIO and pair not in known:
            cases.append(Case(pair, f"{ratios[row]:.2f} times as far as the next"))
    return tuple(cases)


def _stacked(sha256s: Mapping[str, str], embeddings: Embeddings) -> Directions:
    return np.stack([embeddings.directions[sha256] for sha256 in sha256s])


def standing_out(wanted: Directions, pool: Directions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each wanted direction (M, C) the position of the nearest of the pool (N, C), and the ratio (M,).

    The ratio is its distance over the distance to the second nearest; 1 where both are zero, or there is no second.
    """
    nearest, ratios = np.zeros(len(wanted), np.int64), np.ones(len(wanted))
    if len(pool) < 2:
        return nearest, ratios
    rows = max(PAIRS_AT_ONCE // len(pool), 1)
    for start in range(0, len(wanted), rows):
        # Half the squared distance of two unit vectors is one minus their product.
        apart = 1 - (wanted[start : start + rows] @ pool.T).astype(np.float64)
        two = np.argpartition(apart, 1, axis=1)[:, :2]
        squares = np.take_along_axis(apart, two, axis=1).clip(min=0)
        second = squares.max(axis=1)
        nearest[start : start + rows] = two[np.arange(len(two)), squares.argmin(axis=1)]
        np.divide(squares.min(axis=1), second, out=ratios[start : start + rows], where=second > 0)
    return nearest, np.sqrt(ratios)
