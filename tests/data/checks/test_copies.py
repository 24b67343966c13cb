"""What the hash and its limit promise, on real photos."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ftcli.data.checks.copies import LIMIT_BITS, fingerprint, nearest


def reencoded(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image, share):
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES = {
    "JPEG at quality 30": lambda image: reencoded(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "a quarter of the size, quality 50": lambda image: reencoded(
        image.resize((image.width // 4, image.height // 4)), 50
    ),
    "squashed to a square": lambda image: image.resize((256, 256)),
    "mirrored, quality 75": lambda image: reencoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 75),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "brighter": lambda image: image.point(lambda level: min(255, round(1.2 * level))),
}


@pytest.fixture(scope="module")
def photos():
    """Every eighth of the ants and bees."""
    import os
    from pathlib import Path

    folder = os.environ.get("FTCLI_HYMENOPTERA")
    if not folder:
        pytest.skip("FTCLI_HYMENOPTERA does not name the folder of ants and bees")
    return [Image.open(path).convert("RGB") for path in sorted(Path(folder).rglob("*.jpg"))[::8]]


@pytest.fixture(scope="module")
def prints(photos):
    return np.stack([fingerprint(photo) for photo in photos])


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_of_photos_are_within_the_limit_of_their_source(photos, prints, change):
    changed = np.stack([fingerprint(CHANGES[change](photo))[0] for photo in photos])
    bits, positions = zip(*(nearest(changed, prints[:, side]) for side in (0, 1)), strict=True)
    found = np.minimum(*bits)
    assert found.max() <= LIMIT_BITS
    assert (np.where(bits[0] <= bits[1], *positions) == np.arange(len(photos))).all()


def test_a_crop_of_a_tenth_is_beyond_what_the_hash_finds(photos, prints):
    changed = np.stack([fingerprint(cropped(photo, 0.05))[0] for photo in photos])
    assert np.median(nearest(changed, prints[:, 0])[0]) > LIMIT_BITS


def test_no_two_of_all_ants_and_bees_look_alike(hymenoptera):
    names = sorted(hymenoptera.rglob("*.jpg"))
    hashes = np.stack([fingerprint(Image.open(name).convert("RGB").resize((128, 128))) for name in names])
    for side in (0, 1):
        apart = np.stack([np.bitwise_count(hashes[:, 0] ^ other).sum(axis=1) for other in hashes[:, side]])
        np.fill_diagonal(apart, 256)
        assert apart.min() > 2 * LIMIT_BITS


def test_the_nearest_is_found_in_blocks_as_at_once(monkeypatch):
    random = np.random.default_rng(0)
    wanted, pool = (random.integers(0, 2**63, (n, 4)).astype(np.uint64) for n in (50, 30))
    whole = nearest(wanted, pool)
    monkeypatch.setattr("ftcli.data.checks.copies.PAIRS_AT_ONCE", 64)
    for a, b in zip(whole, nearest(wanted, pool), strict=True):
        assert (a == b).all()
    expected = [min(int(np.bitwise_count(one ^ other).sum()) for other in pool) for one in wanted]
    assert whole[0].tolist() == expected
