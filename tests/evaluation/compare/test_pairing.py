from dataclasses import replace

import pytest
from helpers.comparing import compare_predictions

from ftcli.errors import ComparisonError, DatasetError
from ftcli.evaluation.compare.pairing import pair_by_content


def test_classes_are_matched_by_name(scored):
    a = scored([0, 1, 1], [0, 1, 0], ("ants", "bees"))
    b = scored([1, 0, 0], [1, 0, 1], ("bees", "ants"))
    comparison = compare_predictions(a, b)
    assert comparison.mcnemar.b_better == comparison.mcnemar.a_better == 0
    assert comparison.metrics["log_loss"].difference == 0


def test_images_are_matched_by_content_and_the_others_counted(scored):
    a = scored([0, 1, 0], [0, 0, 1], contents=["x", "y", "only a"])
    b = scored([1, 0, 1, 1], [1, 0, 1, 1], contents=["y", "x", "only b", "only b too"])
    comparison = compare_predictions(a, b)
    assert (comparison.images, comparison.only_a, comparison.only_b) == (2, 1, 2)
    assert (comparison.mcnemar.b_better, comparison.mcnemar.a_better) == (1, 0)
    assert comparison.b_better[0].path == "val/bees/1.jpg"


def test_the_same_content_counts_once(scored):
    a = scored([0, 0, 1], [0, 0, 1], contents=["x", "x", "y"])
    b = scored([0, 1], [1, 1], contents=["x", "y"])
    comparison = compare_predictions(a, b)
    assert (comparison.images, comparison.repeats, comparison.mcnemar.a_better) == (2, 1, 1)
    assert comparison.only_a == 0


def test_other_classes_are_refused_by_name(scored):
    a, b = scored([0], [0], ("ants", "bees")), scored([0], [0], ("ants", "wasps"))
    with pytest.raises(ComparisonError) as caught:
        compare_predictions(a, b, names=("runs/a", "runs/b"))
    assert all(each in caught.value.message for each in ("runs/a", "runs/b", "'bees'", "'wasps'"))


def test_runs_without_a_shared_image_are_refused_by_name(scored):
    a, b = scored([0], [0], contents=["x"]), scored([0], [0], contents=["y"])
    with pytest.raises(ComparisonError) as caught:
        compare_predictions(a, b, names=("runs/a", "runs/b"))
    assert all(each in caught.value.message for each in ("runs/a", "runs/b"))
    assert caught.value.exit_code == 3


def test_an_image_with_two_labels_in_a_run_is_refused_with_both_places(scored):
    a, b = scored([0, 1], [0, 1], contents=["x", "x"]), scored([0], [0], contents=["x"])
    with pytest.raises(ComparisonError) as caught:
        compare_predictions(a, b, names=("runs/a", "runs/b"))
    assert all(each in caught.value.message for each in ("runs/a", "val/ants/0.jpg", "val/bees/1.jpg"))


def test_an_image_labelled_otherwise_by_the_other_run_is_refused_with_both_places(scored):
    a, b = scored([0], [0], contents=["x"]), scored([1], [0], contents=["x"])
    with pytest.raises(ComparisonError) as caught:
        compare_predictions(a, b, names=("runs/a", "runs/b"))
    assert all(each in caught.value.message for each in ("runs/b", "val/ants/0.jpg", "val/bees/0.jpg"))


def test_images_without_labels_cannot_be_compared(scored):
    a = scored([0, 1], [0, 1])
    with pytest.raises(DatasetError):
        pair_by_content(a, replace(a, given_labels=None), names=("a", "b"))
