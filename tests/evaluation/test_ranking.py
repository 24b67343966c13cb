import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.ranking import ranks_of, with_ranking


def _ranked(predictions):
    return with_ranking(evaluate(predictions, resamples=20), predictions)


@pytest.mark.parametrize("digits", [1, 9])
def test_values_with_weights_and_ties_are_those_of_scikit_learn(digits):
    generator = np.random.default_rng(0)
    positive = generator.random(300) < 0.3
    scores = np.round(generator.normal(positive, 1.0), digits)
    weights = generator.integers(0, 4, (300, 5)).astype(float)
    found = ranks_of(scores, positive, weights)
    for column in range(5):
        given = {"sample_weight": weights[:, column]}
        assert found[0, column] == pytest.approx(roc_auc_score(positive, scores, **given))
        assert found[1, column] == pytest.approx(average_precision_score(positive, scores, **given))


@pytest.mark.parametrize("classes", [2, 5])
def test_the_means_over_classes_are_those_of_scikit_learn(drawn, classes):
    predictions = drawn(300, classes, seed=0)
    evaluation = _ranked(predictions)
    single = predictions.labels[:, None] == np.arange(classes)
    auc = roc_auc_score(single, predictions.probabilities, average="macro")
    precision = average_precision_score(single, predictions.probabilities, average="macro")
    assert evaluation.metrics["roc_auc"].value == pytest.approx(auc)
    assert evaluation.metrics["average_precision"].value == pytest.approx(precision)
    for name in ("roc_auc", "average_precision"):
        interval = evaluation.metrics[name]
        assert interval.low < interval.value < interval.high
        values = [getattr(row, name) for row in evaluation.per_class]
        assert np.mean(values) == pytest.approx(interval.value)


def test_a_class_without_images_has_neither_and_does_not_count(scored):
    evaluation = _ranked(scored([0, 0, 1, 1], [0, 1, 1, 1], ("ants", "bees", "wasps")))
    assert evaluation.per_class[2].roc_auc is None
    assert evaluation.metrics["roc_auc"].value == pytest.approx(0.75)


def test_images_of_a_single_class_cannot_be_ranked(scored):
    assert "roc_auc" not in _ranked(scored([0, 0], [0, 1])).metrics


def test_the_interval_holds_the_truth_about_as_often_as_it_says(drawn):
    population = drawn(20_000, 3, seed=99)
    single = population.labels[:, None] == np.arange(3)
    truth = roc_auc_score(single, population.probabilities, average="macro")
    intervals = [_ranked(drawn(100, 3, seed=seed)).metrics["roc_auc"] for seed in range(40)]
    assert sum(each.low <= truth <= each.high for each in intervals) >= 34


def test_the_interval_of_a_ranking_without_mistakes_has_a_width(scored):
    auc = _ranked(scored([0, 1] * 20, [0, 1] * 20)).metrics["roc_auc"]
    assert (auc.value, auc.high) == (1.0, 1.0)
    assert 0.8 < auc.low < 0.97


def test_a_ranking_that_takes_long_is_left_out_where_only_a_quick_one_is_wanted(drawn, monkeypatch):
    predictions = drawn(50, 4, seed=0)
    monkeypatch.setattr("ftcli.evaluation.ranking.QUICK_CELLS", 199)
    evaluation = evaluate(predictions, resamples=20)
    assert with_ranking(evaluation, predictions, if_quick=True) is evaluation
    assert "roc_auc" in with_ranking(evaluation, predictions).metrics
    assert "roc_auc" in with_ranking(evaluation, predictions.rows(range(49)), if_quick=True).metrics
