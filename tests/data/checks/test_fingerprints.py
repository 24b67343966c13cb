"""What the hash and its limit promise, on real photos."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ftcli.data.checks.close_pairs import LIMIT_BITS
from ftcli.data.checks.fingerprints import fingerprint, nearest, similar


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


def hashes(count, *, near, seed=0):
    """Return hashes (count, 4) and as many that differ from them in up to twice `near` bits."""
    random = np.random.default_rng(seed)
    one = random.integers(0, 2**64, (count, 4), dtype=np.uint64)
    flips = random.random((count, 256)) < random.uniform(0, 2 * near / 256, (count, 1))
    return one, one ^ np.packbits(flips, axis=1).view(np.uint64)


def test_the_nearest_is_the_one_with_the_fewest_bits_within_the_limit():
    pool, wanted = hashes(60, near=LIMIT_BITS)
    pool = np.concatenate([pool, wanted[:10] ^ np.uint64(1), pool[:20]])
    bits, positions = nearest(wanted, pool)
    apart = np.bitwise_count(wanted[:, None] ^ pool[None]).sum(axis=2)
    close = apart.min(axis=1) <= LIMIT_BITS
    assert 20 < close.sum() < 60
    assert (bits[close] == apart.min(axis=1)[close]).all()
    assert (positions[close] == apart.argmin(axis=1)[close]).all()
    assert (bits[~close] > LIMIT_BITS).all()


def test_copies_of_copies_are_one_set_and_plain_images_only_with_the_same_file():
    (first,), (second,) = hashes(1, near=0)
    chain = [first.copy() for _ in range(4)]
    for number, each in enumerate(chain[:3]):
        each[0] ^= np.uint64(2 ** (30 * number) - 1)  # 30 bits from one to the next, 60 from first to last
    chain[3][1] ^= np.uint64(2**64 - 1)
    prints = {name: np.stack([each, ~each]) for name, each in zip("abcd", chain, strict=True)}
    sha256_of = {**{name: name for name in "abcd"}, "plain": "p", "again": "p", "other": "q"}
    found = similar(sha256_of, prints)
    assert found["a"] == found["b"] == found["c"]
    assert found["plain"] == found["again"] != found["a"]
    assert set(found) == {"a", "b", "c", "plain", "again"}
    assert (first == second).all()


def test_a_mirrored_copy_is_in_the_set():
    a, b = hashes(2, near=0)[0]
    assert set(similar({"a": "a", "b": "b"}, {"a": np.stack([a, b]), "b": np.stack([b, a])})) == {"a", "b"}
