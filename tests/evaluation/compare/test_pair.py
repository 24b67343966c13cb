import numpy as np
import pytest

from ftcli.errors import ComparisonError
from ftcli.evaluation.compare.pair import FEWEST_FLIPS, compare_predictions, mcnemar
from ftcli.evaluation.compare.result import recipe_changes
from ftcli.evaluation.intervals import paired_difference

LABELS = [image % 2 for image in range(153)]


def _predicted(wrong):
    return [1 - label if image in wrong else label for image, label in enumerate(LABELS)]


@pytest.fixture
def tutorial(scored):
    """The official tutorial's two runs: 142 and 146 of 153 right, with 7 flips against 3."""
    a = scored(LABELS, _predicted(set(range(11))))
    b = scored(LABELS, _predicted({7, 8, 9, 10, 100, 101, 102}), confidence=0.8)
    return a, b


def test_the_tutorials_two_runs_cannot_be_told_apart(tutorial):
    comparison = compare_predictions(*tutorial)
    accuracy = comparison.metrics["accuracy"]
    assert (accuracy.a, accuracy.b) == (142 / 153, 146 / 153)
    assert (comparison.mcnemar.b_better, comparison.mcnemar.a_better) == (7, 3)
    assert comparison.mcnemar.p_value == pytest.approx(0.34375)
    assert not comparison.mcnemar.resolved
    assert accuracy.low < 0 < accuracy.difference < accuracy.high
    assert "153 images" in comparison.resolution
    assert "6 one-way flips (3.9 points)" in comparison.resolution


def test_flips_name_the_image_its_label_and_what_each_run_said(tutorial):
    comparison = compare_predictions(*tutorial)
    assert [flip.path for flip in comparison.a_better] == ["val/ants/100.jpg", "val/ants/102.jpg", "val/bees/101.jpg"]
    flip = comparison.b_better[0]
    assert (flip.path, flip.label, flip.a_predicted, flip.b_predicted) == ("val/ants/0.jpg", "ants", "bees", "ants")
    assert (flip.a_probability, flip.b_probability) == (0.9, 0.8)


def test_six_one_way_flips_are_the_fewest_that_convince():
    assert mcnemar(FEWEST_FLIPS, 0).resolved
    assert not mcnemar(FEWEST_FLIPS - 1, 0).resolved
    assert mcnemar(0, 0).p_value == 1.0


@pytest.mark.parametrize("images", [50, 153, 5000])
@pytest.mark.parametrize("flips", range(1, 12))
def test_the_interval_of_one_way_flips_excludes_zero_where_mcnemar_does(images, flips):
    interval = paired_difference(np.array([flips]), np.array([0]), np.array([images]))
    assert (interval.low > 0) == mcnemar(flips, 0).resolved


def test_two_runs_without_a_flip_are_not_said_to_be_equal_for_certain(scored):
    a, b = scored(LABELS, LABELS, confidence=0.9), scored(LABELS, LABELS, confidence=0.8)
    metrics = compare_predictions(a, b).metrics
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert metrics[name].difference == 0
        assert metrics[name].low < -0.01 < 0.01 < metrics[name].high, name


def test_differences_pair_the_images(drawn):
    a = drawn(300, 7, seed=0)
    nearly = np.clip(a.probabilities + 1e-3, 0, 1)
    b = type(a)(a.classes, a.paths, a.sha256, a.labels, nearly / nearly.sum(axis=1, keepdims=True))
    metrics = compare_predictions(a, b).metrics
    assert metrics.keys() >= {"top5_accuracy", "log_loss", "ece"}
    # Unpaired, this would be as wide as the log-loss itself is uncertain: about 0.15.
    assert metrics["log_loss"].high - metrics["log_loss"].low < 0.02


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "log_loss"])
def test_intervals_of_the_difference_hold_the_truth_about_as_often_as_they_say(drawn, metric):
    # Two draws of scores for the same labels: the true difference is zero.
    held = 0
    for seed in range(80):
        a = drawn(150, 3, seed=seed)
        b = drawn(150, 3, seed=seed + 10_000, labels=a.labels)
        difference = compare_predictions(a, b, resamples=200).metrics[metric]
        held += difference.low <= 0 <= difference.high
    assert 70 <= held <= 80


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
    with pytest.raises(ComparisonError, match=r"runs/a and runs/b.*only runs/a has 'bees'; only runs/b has 'wasps'"):
        compare_predictions(a, b, names=("runs/a", "runs/b"))


def test_runs_without_a_shared_image_are_refused_by_name(scored):
    a, b = scored([0], [0], contents=["x"]), scored([0], [0], contents=["y"])
    with pytest.raises(ComparisonError, match="runs/a and runs/b have no image in common") as caught:
        compare_predictions(a, b, names=("runs/a", "runs/b"))
    assert caught.value.exit_code == 3


def test_an_image_with_two_labels_in_a_run_is_refused_with_both_places(scored):
    a, b = scored([0, 1], [0, 1], contents=["x", "x"]), scored([0], [0], contents=["x"])
    with pytest.raises(ComparisonError, match=r"two labels in runs/a: val/ants/0.jpg \(ants\) and val/bees/1.jpg"):
        compare_predictions(a, b, names=("runs/a", "runs/b"))


def test_an_image_labelled_otherwise_by_the_other_run_is_refused_with_both_places(scored):
    a, b = scored([0], [0], contents=["x"]), scored([1], [0], contents=["x"])
    with pytest.raises(ComparisonError, match=r"val/ants/0.jpg is ants in runs/a, and val/bees/0.jpg is bees in"):
        compare_predictions(a, b, names=("runs/a", "runs/b"))


def test_too_few_images_are_said_to_resolve_nothing(scored):
    comparison = compare_predictions(scored([0, 1], [0, 1]), scored([0, 1], [1, 0]))
    assert "cannot tell two runs apart" in comparison.resolution


def test_recipe_changes_are_named_by_dotted_keys():
    a = {"strategy": {"kind": "fine-tune", "lr": {"head": 0.01, "layer4": 1e-4}}, "seed": 0, "patience": None}
    b = {"strategy": {"kind": "fine-tune", "lr": {"head": 0.02}}, "seed": 0, "epochs": 3}
    assert recipe_changes(a, b) == {
        "strategy.lr.head": {"a": 0.01, "b": 0.02},
        "strategy.lr.layer4": {"a": 1e-4, "b": None},
        "epochs": {"a": None, "b": 3},
    }


def test_recipe_changes_tell_a_section_from_a_value_and_true_from_one():
    assert recipe_changes({"lr": {"head": 1}}, {"lr": 1}) == {"lr": {"a": {"head": 1}, "b": 1}}
    assert recipe_changes({"x": True}, {"x": 1}) == {"x": {"a": True, "b": 1}}
    assert recipe_changes({"x": [1, 2]}, {"x": [1, 3]}) == {"x": {"a": [1, 2], "b": [1, 3]}}
    assert recipe_changes({"x": 1e-3}, {"x": 0.001}) == {}
