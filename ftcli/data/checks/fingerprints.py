"""The perceptual hash of an image, by which changed copies of it are found.

It has 256 bits (pHash: the signs of the low frequencies of 64 x 64 grey pixels). On ants and bees, unrelated photos
differ in 90 bits or more, over all 78,606 pairs, and re-encoded, halved, grey, brightened or mirrored copies in 30 or
less.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ftcli.data.checks.close_pairs import BITS, Hashes, Positions, close_pairs
from ftcli.data.val_split import join

LEAST_SIDE = 32
"""Images with a shorter side below this, in pixels, hold too little detail for such a hash."""

SIDE_FOR_HASH = 128
"""The shorter side that an image should have when it is hashed; more changes nothing."""

Fingerprint = NDArray[np.uint64]
"""The hash of an image and of its mirror image, (2, 4)."""


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return the perceptual hash of an RGB image and of its mirror image."""
    from imagehash import phash

    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    bits = np.stack([phash(each, hash_size=16).hash.ravel() for each in (image, mirrored)])
    return np.packbits(bits, axis=1).view(np.uint64)


def nearest(wanted: Hashes, pool: Hashes) -> tuple[Positions, Positions]:
    """Return for each of the wanted hashes (M, 4) the fewest bits to one of the pool (N, 4), and its position (M,).

    Only hashes within LIMIT_BITS are looked for: where there is none, the number is BITS + 1.
    """
    distances, positions = np.full(len(wanted), BITS + 1, np.int64), np.zeros(len(wanted), np.int64)
    for rows, found, bits in close_pairs(wanted, pool):
        order = np.lexsort((found, bits, rows))  # of equally near ones, the first of the pool
        first = order[np.unique(rows[order], return_index=True)[1]]
        row, bit, position = rows[first], bits[first], found[first]
        nearer = (bit < distances[row]) | ((bit == distances[row]) & (position < positions[row]))
        distances[row[nearer]], positions[row[nearer]] = bit[nearer], position[nearer]
    return distances, positions


def similar(sha256_of: Mapping[str, str], fingerprints: Mapping[str, Fingerprint]) -> dict[str, str]:
    """Return one name for each set of copies, changed or not, by the name of each image that has one.

    What is a copy of a copy is in the set, too.
    """
    first: dict[str, str] = {}
    pairs = [(name, first.setdefault(sha256, name)) for name, sha256 in sha256_of.items()]
    different = [name for name in fingerprints if first[sha256_of[name]] == name]
    if different:
        prints = np.stack([fingerprints[name] for name in different])
        for side in (0, 1):
            for rows, positions, _ in close_pairs(prints[:, side], prints[:, 0]):
                pairs += [(different[row], different[position]) for row, position in zip(rows, positions, strict=True)]
    return join((one, other) for one, other in pairs if one != other)
