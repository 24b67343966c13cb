import json
from dataclasses import asdict

import numpy as np
import pytest

from ftcli.evaluation.abstention import abstention


def test_the_curve_ends_with_every_image_answered(drawn):
    predictions = drawn(200, 3, seed=0)
    found = abstention(predictions, target=0.9)
    last = found.curve[-1]
    assert (last.coverage, last.images) == (1.0, 200)
    assert last.precision.value == predictions.correct.mean()
    assert [point.images for point in found.curve] == [10 * step for step in range(1, 21)]


def test_a_threshold_answers_exactly_the_images_that_are_as_confident(drawn):
    predictions = drawn(333, 3, seed=1)
    confidence = predictions.confidence
    for point in abstention(predictions, target=0.9).curve:
        answered = confidence >= point.threshold
        assert point.images == answered.sum()
        assert point.precision.value == pytest.approx(predictions.correct[answered].mean())


def test_the_suggestion_holds_on_other_images_about_as_often_as_it_says(drawn):
    population = drawn(100_000, 3, seed=2)
    confidence, correct = population.confidence, population.correct
    kept, suggested = 0, 0
    for seed in range(60):
        found = abstention(drawn(400, 3, seed=seed + 10), target=0.9).suggestion
        if found is not None:
            suggested += 1
            kept += correct[confidence >= found.threshold].mean() >= 0.9
    assert suggested > 50
    assert kept >= suggested - 4


def test_no_threshold_is_suggested_where_none_reaches_the_target(drawn):
    assert abstention(drawn(30, 3, seed=0), target=0.999).suggestion is None


def test_an_easy_target_answers_everything(scored):
    found = abstention(scored([0, 1] * 100, [0, 1] * 100), target=0.9)
    assert found.suggestion is not None
    assert found.suggestion.coverage == 1.0
    assert found.aurc == 0.0


def test_images_of_equal_confidence_are_answered_together(scored):
    found = abstention(scored([0] * 9, [0] * 8 + [1]), target=0.5)
    assert len(found.curve) == 1
    assert found.aurc == pytest.approx(1 / 9)


def test_aurc_is_the_mean_risk_over_coverages(drawn):
    predictions = drawn(50, 3, seed=3)
    order = np.argsort(-predictions.confidence)
    risks = 1 - np.cumsum(predictions.correct[order]) / np.arange(1, 51)
    assert abstention(predictions, target=0.9).aurc == pytest.approx(risks.mean())


@pytest.mark.parametrize(("predicted", "risk"), [(0, 0.0), (1, 1.0)])
def test_a_single_image_is_a_curve_of_one_point_that_shows_nothing(scored, predicted, risk):
    found = abstention(scored([0], [predicted]), target=0.9)
    (point,) = found.curve
    assert (point.images, point.coverage, point.threshold) == (1, 1.0, pytest.approx(0.9))
    assert (found.aurc, point.precision.value, found.suggestion) == (risk, 1 - risk, None)
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["aurc"] == risk
