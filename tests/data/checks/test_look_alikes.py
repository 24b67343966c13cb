"""Images that are far nearer to one image of another split than to the next."""

from pathlib import Path

import numpy as np
import pytest

from ftcli.data.checks import look_alikes
from ftcli.data.checks.look_alikes import Embeddings, look_alike_findings, standing_out
from ftcli.data.dataset import Dataset, Sample

CHANNELS = 64


def directions(count: int, *, seed: int = 0) -> np.ndarray:
    """Return random unit vectors (count, CHANNELS), which are all about as far from each other."""
    vectors = np.random.default_rng(seed).normal(size=(count, CHANNELS))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def near(direction: np.ndarray, *, by: float, seed: int = 99) -> np.ndarray:
    moved = direction + by * directions(1, seed=seed + 50)[0]
    return moved / np.linalg.norm(moved)


def dataset_of(**names: list[str]) -> Dataset:
    splits = {
        split: tuple(Sample(path=Path(name), name=name, label=0) for name in of_split)
        for split, of_split in names.items()
    }
    return Dataset(Path(), ("a",), splits, (), None)


def found(
    dataset: Dataset, directions: dict[str, np.ndarray], **options: set[tuple[str, str]]
) -> list[tuple[str, ...]]:
    """Return the files of all cases; the hash of an image is its name up to the first dot."""
    sha256_of = {sample.name: sample.name.split(".")[0] for split in dataset.splits.values() for sample in split}
    findings = look_alike_findings(dataset, Embeddings("net", directions), sha256_of, **options)
    return [case.files for finding in findings for case in finding.cases]


def test_the_ratio_is_that_of_the_distances_to_the_nearest_two(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, pool = directions(40, seed=1), directions(30, seed=2)
    distances = np.sort(np.linalg.norm(wanted[:, None].astype(np.float64) - pool[None], axis=2), axis=1)
    for pairs_at_once in (2**24, 90):
        monkeypatch.setattr(look_alikes, "PAIRS_AT_ONCE", pairs_at_once)
        nearest, ratios = standing_out(wanted, pool)
        np.testing.assert_allclose(ratios, distances[:, 0] / distances[:, 1], rtol=1e-5)
        np.testing.assert_array_equal(nearest, (wanted @ pool.T).argmax(axis=1))


def test_nothing_stands_out_from_one_image_or_from_two_identical_ones() -> None:
    one = directions(1)
    assert standing_out(one, one)[1].tolist() == [1.0]
    assert standing_out(one, np.repeat(one, 2, axis=0))[1].tolist() == [1.0]


def test_only_an_image_that_stands_out_is_reported_with_its_source() -> None:
    pool, others = directions(20, seed=3), directions(19, seed=4)
    seen = {f"t{number}": pool[number] for number in range(20)}
    seen |= {f"v{number}": others[number] for number in range(19)} | {"crop": near(pool[7], by=0.5)}
    names = {"train": list(map("t{}.jpg".format, range(20))), "val": [*map("v{}.jpg".format, range(19)), "crop.jpg"]}
    assert found(dataset_of(**names), seen) == [("t7.jpg", "crop.jpg")]
    assert found(dataset_of(**names), seen, known={("t7.jpg", "crop.jpg")}) == []


def test_frames_of_one_film_do_not_stand_out() -> None:
    frames = {f"f{number}": near(directions(1)[0], by=0.3, seed=number) for number in range(30)}
    dataset = dataset_of(train=[f"f{number}.jpg" for number in range(29)], val=["f29.jpg"])
    assert found(dataset, frames) == []


def test_the_same_content_is_neither_reported_again_nor_in_the_way() -> None:
    """Copies in train would each be as near as the other; copies across splits are leaks already."""
    pool = directions(20)
    seen = {f"t{number}": pool[number] for number in range(20)} | {"crop": near(pool[0], by=0.3)}
    train = ["t0.jpg", "t0.again.jpg", *(f"t{number}.jpg" for number in range(1, 20))]
    assert found(dataset_of(train=train, val=["t1.copy.jpg", "crop.jpg"]), seen) == [("t0.jpg", "crop.jpg")]


@pytest.mark.parametrize(("images", "expected"), [(20, [("t0.jpg", "crop.jpg")]), (19, [])])
def test_nothing_stands_out_among_few_images(images: int, expected: list[tuple[str, ...]]) -> None:
    pool = directions(images)
    seen = {f"t{number}": pool[number] for number in range(images)} | {"crop": near(pool[0], by=0.3)}
    train = [f"t{number}.jpg" for number in range(images)]
    assert found(dataset_of(train=[*train, "t0.copy.jpg", "unseen.jpg"], val=["crop.jpg"]), seen) == expected


def test_images_without_an_embedding_are_skipped() -> None:
    pool = directions(20)
    seen = {f"t{number}": pool[number] for number in range(20)}
    dataset = dataset_of(train=[f"t{number}.jpg" for number in range(21)], val=["crop.jpg"], test=[])
    assert found(dataset, seen) == []
    assert found(dataset, {}) == []
