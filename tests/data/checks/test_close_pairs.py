"""The search by bands finds exactly the pairs that comparing all pairs finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.data.checks import close_pairs as module
from ftcli.data.checks.close_pairs import LIMIT_BITS, close_pairs


def hashes(count, *, near, seed=0):
    """Return hashes (count, 4), and as many that differ from them in up to twice `near` bits."""
    random = np.random.default_rng(seed)
    one = random.integers(0, 2**64, (count, 4), dtype=np.uint64)
    flips = random.random((count, 256)) < random.uniform(0, 2 * near / 256, (count, 1))
    return one, one ^ np.packbits(flips, axis=1).view(np.uint64)


def found(wanted, pool):
    return sorted(
        (int(row), int(at), int(bits))
        for block in close_pairs(wanted, pool)
        for row, at, bits in zip(*block, strict=True)
    )


def expected(wanted, pool):
    apart = np.bitwise_count(wanted[:, None] ^ pool[None]).sum(axis=2)
    return [(row, at, int(apart[row, at])) for row, at in np.argwhere(apart <= LIMIT_BITS).tolist()]


@pytest.mark.parametrize("cost", [0, 10**9], ids=["by bands", "all pairs"])
@pytest.mark.parametrize("at_once", [64, 2**19])
def test_every_close_pair_is_found_once_however_it_is_searched(monkeypatch, cost, at_once):
    pool, wanted = hashes(400, near=LIMIT_BITS)
    monkeypatch.setattr(module, "_CANDIDATE_COST", cost)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", at_once)
    some = wanted[:60]
    assert 20 < len(found(some, pool)) < 60
    assert found(some, pool) == expected(some, pool)


@given(st.permutations(range(256)), st.integers(LIMIT_BITS - 1, LIMIT_BITS + 1))
def test_it_does_not_matter_which_bits_differ(bits, number):
    flips = np.zeros(256, bool)
    flips[bits[:number]] = True
    pool = np.zeros((2000, 4), np.uint64)  # the others are far away
    pool[1:] = hashes(1999, near=0)[0]
    wanted = np.packbits(flips).view(np.uint64)[None]
    assert [pair for pair in found(wanted, pool) if pair[1] == 0] == [(0, 0, number)] * (number <= LIMIT_BITS)


def test_spread_over_the_bands_as_evenly_as_can_be_forty_bits_are_found():
    flips = np.zeros((16, 16), bool)
    flips[:7, :2], flips[7:, :3] = True, True  # 41 bits, and no band within its radius
    pool = hashes(3000, near=0)[0]
    for band in range(16):
        close = flips.copy()
        close[band, 0] = False
        wanted = pool[:1] ^ np.packbits(close.ravel(), bitorder="little").view(np.uint64)
        assert found(wanted, pool) == [(0, 0, LIMIT_BITS)]
    assert found(pool[:1] ^ np.packbits(flips.ravel(), bitorder="little").view(np.uint64), pool) == []


def test_hashes_that_crowd_and_empty_pools_are_searched_too():
    same = np.repeat(hashes(1, near=0)[0], 300, axis=0)
    assert len(found(same[:50], same)) == 50 * 300
    assert found(same, same[:0]) == found(same[:0], same) == []
