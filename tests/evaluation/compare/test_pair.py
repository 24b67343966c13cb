import numpy as np
import pytest
from helpers.comparing import compare_predictions
from scipy.stats import binom

from ftcli.evaluation.compare.pair import FEWEST_FLIPS, detectable_difference, mcnemar, resolution_text
from ftcli.evaluation.intervals import paired_difference
from ftcli.evaluation.significance import sign_test

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


def test_six_one_way_flips_are_the_fewest_that_are_significant():
    assert mcnemar(FEWEST_FLIPS, 0).resolved
    assert not mcnemar(FEWEST_FLIPS - 1, 0).resolved
    assert mcnemar(0, 0).p_value == 1.0


@pytest.mark.parametrize("images", [50, 153, 5000])
@pytest.mark.parametrize("flips", range(1, 12))
def test_the_interval_of_one_way_flips_excludes_zero_where_mcnemar_does(images, flips):
    interval = paired_difference(np.array([flips]), np.array([0]), np.array([images]))
    assert (interval.low > 0) == mcnemar(flips, 0).resolved


def test_the_intervals_of_two_runs_without_a_flip_have_a_width(scored):
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


def test_too_few_images_resolve_nothing(scored):
    comparison = compare_predictions(scored([0, 1], [0, 1]), scored([0, 1], [1, 0]))
    assert "cannot tell two runs apart" in comparison.resolution


@pytest.mark.parametrize(("images", "flips"), [(153, 20), (1_000, 60), (10_000, 300)])
def test_the_detectable_difference_is_found_four_times_in_five(images, flips):
    difference = detectable_difference(images, flips)
    share = flips / images
    power = 0.0
    for flipped in range(flips * 3):
        gained = np.arange(flipped + 1)
        found = sign_test(gained, flipped - gained) < 0.05
        towards_b = binom.pmf(gained, flipped, (share + difference) / 2 / share)
        power += binom.pmf(flipped, images, share) * towards_b[found].sum()
    # The exact test stays somewhat below what the formula promises.
    assert 0.7 < power < 0.85


def test_too_few_flips_have_no_detectable_difference():
    assert detectable_difference(153, 5) is None
    assert detectable_difference(2, 1) is None
    assert "four times in five" not in resolution_text(153, 5)


def test_the_resolution_is_given_in_flips_and_points():
    text = resolution_text(1_000, 60)
    assert "at least 6 one-way flips (0.6 points)" in text
    assert "6.0 % of them flip" in text
