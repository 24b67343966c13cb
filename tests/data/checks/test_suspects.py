"""Labels that may be wrong, found from features."""

from pathlib import Path

import numpy as np
import pytest

from ftcli.data.checks import suspects as module
from ftcli.data.checks.look_alikes import Embeddings
from ftcli.data.checks.suspects import MIN_IMAGES, out_of_fold, suspect_findings, suspects
from ftcli.data.dataset import Dataset, Sample

CLASSES = ("ants", "bees", "wasps")
CHANNELS = 16


def seen(labels: list[int], *, seed: int = 0) -> np.ndarray:
    """Return unit vectors (N, CHANNELS) near the axis of each true label."""
    vectors = np.eye(CHANNELS)[labels] + np.random.default_rng(seed).normal(0, 0.08, (len(labels), CHANNELS))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def dataset_of(given: list[int], clusters: list[str] | None = None) -> Dataset:
    samples = tuple(
        Sample(Path(str(n)), str(n), label, clusters[n] if clusters else None) for n, label in enumerate(given)
    )
    return Dataset(Path(), CLASSES, {"train": samples[::2], "val": samples[1::2]}, (), None)


def found(given: list[int], directions: np.ndarray, sha256_of: dict[str, str] | None = None) -> list:
    sha256_of = sha256_of or {str(number): f"sha {number}" for number in range(len(given))}
    embeddings = Embeddings("net", {f"sha {number}": row for number, row in enumerate(directions)})
    return [case for each in suspect_findings(dataset_of(given), embeddings, sha256_of) for case in each.cases]


TRUE = [number % 3 for number in range(90)]


def test_flipped_labels_of_any_split_are_named_with_the_class_that_they_look_like() -> None:
    given = list(TRUE)
    given[4], given[9], given[31] = 2, 1, 0
    cases = {case.files: case.suspect for case in found(given, seen(TRUE))}
    assert set(cases) == {("4",), ("9",), ("31",)}
    suspect = cases["4",]
    assert suspect is not None
    assert (suspect.given, suspect.suggested) == ("wasps", "bees")
    assert 0.5 < suspect.probability <= 1


def test_right_labels_of_clear_classes_are_not_named() -> None:
    assert found(TRUE, seen(TRUE)) == []


def test_the_widest_margin_comes_first() -> None:
    probabilities = np.tile([0.9, 0.05, 0.05], (8, 1))
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    probabilities[4] = [0.10, 0.88, 0.02]
    probabilities[5] = [0.85, 0.10, 0.05]
    probabilities[6] = [0.93, 0.02, 0.05]
    probabilities[7] = [0.1, 0.1, 0.8]
    assert suspects(probabilities, labels) == [(6, 0)]
    labels[5] = 0
    probabilities[5] = [0.05, 0.92, 0.03]
    assert suspects(probabilities, labels) == [(6, 0), (5, 1)]


def test_an_image_whose_class_no_other_fold_has_is_not_judged() -> None:
    assert suspects(np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 0]]), np.array([0, 1, 2])) == []


def test_a_cluster_is_never_on_both_sides_of_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten images in clusters of two, each pair with directions of its own: known only where its twin is fitted to.
    labels = np.repeat([0, 1, 0, 1, 0, 1, 0, 1, 0, 1], 2)
    directions = np.repeat(np.eye(10, dtype=np.float32), 2, axis=0)
    apart = out_of_fold(directions, labels, np.arange(20))
    assert (apart.argmax(axis=1) == labels).mean() > 0.6
    together = out_of_fold(directions, labels, np.repeat(np.arange(10), 2))
    assert together == pytest.approx(np.full((20, 2), 0.5), abs=0.25)


def test_a_content_counts_once_and_not_at_all_with_two_labels() -> None:
    given = list(TRUE)
    given[4] = 2
    sha256_of = {str(number): f"sha {number}" for number in range(90)}
    same_label = found([*given, 2], seen([*TRUE, 1]), {**sha256_of, "90": "sha 4"})
    assert [case.files for case in same_label] == [("4",)]
    assert found([*given, 1], seen([*TRUE, 1]), {**sha256_of, "90": "sha 4"}) == []


def test_few_images_and_many_products_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    few = TRUE[: MIN_IMAGES - 1]
    assert found([2, *few[1:]], seen(few)) == []
    monkeypatch.setattr(module, "MOST_PRODUCTS", 90 * CHANNELS * 3 - 1)
    embeddings = Embeddings("net", {str(number): row for number, row in enumerate(seen(TRUE))})
    (finding,) = suspect_findings(dataset_of(TRUE), embeddings, {str(number): str(number) for number in range(90)})
    assert (finding.code, finding.level) == ("labels-not-searched", "info")


def test_features_that_show_nothing_of_the_classes_name_no_image() -> None:
    embeddings = Embeddings("net", {str(number): row for number, row in enumerate(seen([0] * 90))})
    (finding,) = suspect_findings(dataset_of(TRUE), embeddings, {str(number): str(number) for number in range(90)})
    assert (finding.code, finding.level, finding.cases) == ("labels-not-searched", "info", ())


def test_without_features_nothing_is_judged() -> None:
    assert list(suspect_findings(dataset_of(TRUE), None, {})) == []
