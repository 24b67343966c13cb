from dataclasses import replace

import numpy as np
import pytest

from ftcli.data.inspection import ImageFacts
from ftcli.errors import DatasetError
from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.predictions import Predictions


def _predictions(probabilities, labels=(0,), classes=("ants", "bees")):
    rows = len(labels)
    names = tuple(str(row) for row in range(rows))
    return Predictions(classes, names, names, np.array(labels, dtype=np.int64), np.array(probabilities, dtype=float))


def test_predicted_is_the_most_probable_class_and_the_first_of_equal_ones():
    predictions = _predictions([[0.2, 0.8], [0.5, 0.5]], labels=(1, 1))
    assert predictions.predicted.tolist() == [1, 0]
    assert predictions.correct.tolist() == [True, False]
    assert len(predictions) == 2


@pytest.mark.parametrize(
    ("probabilities", "labels", "classes"),
    [
        ([[0.5, 0.6]], (0,), ("ants", "bees")),
        ([[1.5, -0.5]], (0,), ("ants", "bees")),
        ([[float("nan"), 1.0]], (0,), ("ants", "bees")),
        ([[0.5, 0.5]], (2,), ("ants", "bees")),
        ([[0.5, 0.5]], (0, 0), ("ants", "bees")),
        ([[0.5, 0.5]], (0,), ("ants", "ants")),
        ([[1.0]], (0,), ("ants",)),
    ],
    ids=["sum", "negative", "nan", "label", "shape", "twice", "one class"],
)
def test_impossible_predictions_are_our_own_bug(probabilities, labels, classes):
    with pytest.raises(AssertionError):
        _predictions(probabilities, labels, classes)


def test_single_precision_rows_count_as_summing_to_one():
    half = np.float32(1) / np.float32(3)
    rounded = _predictions([[half, half, half]], classes=("a", "b", "c"))
    assert rounded.confidence == pytest.approx([1 / 3], abs=1e-15)
    assert rounded.likelihoods == pytest.approx([1 / 3], abs=1e-15)


def test_images_without_labels_have_predictions_that_cannot_be_judged():
    predictions = replace(_predictions([[0.2, 0.8]]), given_labels=None)
    assert predictions.predicted.tolist() == [1]
    for judged in (lambda: predictions.correct, lambda: predictions.in_top5, lambda: evaluate(predictions)):
        with pytest.raises(DatasetError):
            judged()


@pytest.mark.parametrize("labels", [[1, 0], None])
def test_predictions_of_read_files_have_their_names_and_hashes(labels):
    facts = [ImageFacts(f"{name}.png", name * 64, 8, 8, "RGB", "PNG") for name in "ab"]
    predictions = Predictions.of(("ants", "bees"), facts, labels, np.array([[0.2, 0.8], [0.5, 0.5]]))
    assert (predictions.paths, predictions.sha256) == (("a.png", "b.png"), ("a" * 64, "b" * 64))
    assert (predictions.given_labels is None) == (labels is None)
    assert predictions.rows([1]).paths == ("b.png",)
