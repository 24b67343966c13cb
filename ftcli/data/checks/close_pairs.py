"""All pairs of hashes that differ in few bits, without comparing all pairs.

A hash of 256 bits is 16 bands of 16 bits, and each band has a radius. If no band of two hashes is within its radius, 7
of them differ in 2 bits or more and 9 in 3 or more: in 41 bits. So only hashes with a close band are compared, which
are looked up in a table of each band (Norouzi, Punjani and Fleet 2012, arXiv:1307.2982). For unrelated photos, these
are 2 % of all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = 256
LIMIT_BITS = 40
"""Images whose hashes differ in more bits are not taken for copies."""

Hashes = NDArray[np.uint64]
"""Hashes (N, 4), of 256 bits each."""

Positions = NDArray[np.int64]

PAIRS_AT_ONCE = 2**19
"""Pairs that are compared in one step, so that memory does not grow with the dataset."""

_BANDS = 16
_RADII = np.array([1] * 7 + [2] * 9)
assert (_RADII + 1).sum() == LIMIT_BITS + 1, "the bands find every pair within the limit"

_CANDIDATE_COST = 4
"""How many times as long a candidate takes as one of all pairs, which are next to each other in memory."""


class Pairs(NamedTuple):
    """Positions in two arrays of hashes, and the number of bits that differ, (P,) each."""

    wanted: Positions
    pool: Positions
    bits: Positions


def close_pairs(wanted: Hashes, pool: Hashes) -> Iterator[Pairs]:
    """Yield all pairs of a wanted hash and one of the pool that differ in at most LIMIT_BITS, each pair once.

    Where candidates are so many that all pairs take less time, as with hashes that crowd, all pairs are compared.
    """
    if not len(pool):
        return
    words = np.ascontiguousarray(pool.T)  # (4, N)
    tables = [_Table.of(band, radius) for band, radius in zip(_bands(pool).T, _RADII.tolist(), strict=True)]
    rows = max(PAIRS_AT_ONCE // max(len(table.flips) + len(pool) // 500 for table in tables), 1)
    for start in range(0, len(wanted), rows):
        block = np.ascontiguousarray(wanted[start : start + rows])
        found = [table.look_up(band) for table, band in zip(tables, _bands(block).T, strict=True)]
        candidates = sum(int(counts.sum()) for _, counts in found)
        if candidates * _CANDIDATE_COST > len(block) * len(pool):
            pairs = _among_all(block, words)
        else:
            pairs = _among_candidates(block, words, tables, found)
        for near, positions, bits in pairs:
            if len(near):
                yield Pairs(near + start, positions, bits)


@dataclass(frozen=True, eq=False)
class _Table:
    """The hashes of a pool by one band: those with the value v are `order[starts[v]:starts[v + 1]]`.

    `flips` (F,) are the differences within the band's radius: 17 or 137 of 65,536.
    """

    order: Positions
    starts: Positions
    flips: NDArray[np.uint16]

    @classmethod
    def of(cls, band: NDArray[np.uint16], radius: int) -> _Table:
        starts = np.zeros(2**16 + 1, np.int64)
        starts[1:] = np.bincount(band, minlength=2**16).cumsum()
        flips = [sum(1 << bit for bit in bits) for size in range(radius + 1) for bits in combinations(range(16), size)]
        return cls(np.argsort(band, kind="stable"), starts, np.array(flips, np.uint16))

    def look_up(self, band: NDArray[np.uint16]) -> tuple[Positions, Positions]:
        """Return for bands (M,) where in `order` the close ones start, and how many these are: (M, F) each."""
        values = (band[:, None] ^ self.flips).astype(np.int64)
        first = self.starts[values]
        return first, self.starts[values + 1] - first


def _among_candidates(
    block: Hashes, words: Hashes, tables: list[_Table], found: list[tuple[Positions, Positions]]
) -> Iterator[Pairs]:
    """Yield the close pairs of a block; a pair that several bands find counts for the first of them."""
    for band, (table, (first, counts)) in enumerate(zip(tables, found, strict=True)):
        row = np.repeat(np.arange(len(block)), counts.sum(axis=1))
        of_flip = counts.ravel()
        # Candidate i of a flip is at its first position plus i.
        position = table.order[np.arange(len(row)) + np.repeat(first.ravel() - (of_flip.cumsum() - of_flip), of_flip)]
        half = np.bitwise_count(words[0][position] ^ block[row, 0])
        half += np.bitwise_count(words[1][position] ^ block[row, 1])
        kept = np.flatnonzero(half <= LIMIT_BITS)  # most unrelated ones differ in 64 of these 128 bits
        row, position = row[kept], position[kept]
        differing = block[row] ^ words[:, position].T
        bits = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
        first_close = (np.bitwise_count(_bands(differing)) <= _RADII).argmax(axis=1)
        close = (bits <= LIMIT_BITS) & (first_close == band)
        yield Pairs(row[close], position[close], bits[close])


def _among_all(block: Hashes, words: Hashes) -> Iterator[Pairs]:
    rows = max(PAIRS_AT_ONCE // words.shape[1], 1)
    for start in range(0, len(block), rows):
        some = block[start : start + rows]
        apart = np.zeros((len(some), words.shape[1]), np.uint16)
        for word in range(len(words)):
            apart += np.bitwise_count(some[:, word, None] ^ words[word])
        near, positions = np.nonzero(apart <= LIMIT_BITS)
        yield Pairs(near + start, positions, apart[near, positions].astype(np.int64))


def _bands(hashes: Hashes) -> NDArray[np.uint16]:
    """Return the bands (N, 16) of hashes."""
    return np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), _BANDS)
