"""Seeds for random generators, hashed from everything that a random choice depends on."""

from __future__ import annotations

import hashlib

SEED_BITS = 63
"""Seeds are non-negative and fit a signed 64-bit integer."""


def stable_seed(*parts: str | int | bytes) -> int:
    """Return a seed of 63 bits, the same for the same parts in every process and on every platform.

    Parts are kept apart: ("ab", "c") and ("a", "bc"), or 1 and "1", give different seeds.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(f"{type(part).__name__}:{len(content)}:".encode())
        digest.update(content)
    return int.from_bytes(digest.digest(), "big") >> (64 - SEED_BITS)
