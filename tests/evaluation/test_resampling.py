import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ftcli.evaluation.calibration import calibration_gaps
from ftcli.evaluation.resampling import metric_values, quick_metrics, resampled_metrics
from ftcli.metrics import MONITORS


@pytest.mark.parametrize("classes", [2, 4, 12])
def test_values_are_those_of_scikit_learn(drawn, classes):
    predictions = drawn(400, classes, seed=1)
    labels, predicted = predictions.labels, predictions.predicted
    values = metric_values(predictions)
    assert values["accuracy"] == sklearn_metrics.accuracy_score(labels, predicted)
    assert values["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, predicted))
    assert values["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    assert values["log_loss"] == pytest.approx(sklearn_metrics.log_loss(labels, predictions.probabilities))
    assert ("top5_accuracy" in values) == (classes > 5)
    if classes > 5:
        top5 = sklearn_metrics.top_k_accuracy_score(labels, predictions.probabilities, k=5)
        assert values["top5_accuracy"] == pytest.approx(top5)


def test_quick_metrics_agree_with_the_full_ones(drawn):
    predictions = drawn(300, 7, seed=2)
    quick = quick_metrics(predictions.labels, predictions.probabilities.astype(np.float32))
    values = metric_values(predictions)
    assert quick["accuracy"] == values["accuracy"]
    assert quick["macro_f1"] == pytest.approx(values["macro_f1"])
    assert quick["balanced_accuracy"] == pytest.approx(values["balanced_accuracy"])
    assert quick["loss"] == pytest.approx(values["log_loss"], rel=1e-5)


def test_quick_metrics_of_many_classes_need_no_matrix_of_them():
    labels = np.arange(4)
    probabilities = np.full((4, 100_000), 1e-9)
    probabilities[np.arange(4), [0, 1, 2, 0]] = 0.99
    assert quick_metrics(labels, probabilities)["accuracy"] == 0.75


def test_resampled_metrics_use_the_same_formulas_as_the_values(drawn):
    # With one image per class every stratified resample is the original.
    everything = drawn(2000, 8, seed=3)
    rows = [int(np.flatnonzero(everything.labels == label)[0]) for label in range(8)]
    one_each = everything.rows(rows)
    (resampled,) = resampled_metrics([one_each], seed=0, resamples=5)
    values = metric_values(one_each)
    assert resampled.keys() == values.keys()
    for name, value in values.items():
        assert resampled[name] == pytest.approx(np.full(5, value)), name


def test_ece_is_the_gap_between_confidence_and_accuracy(scored):
    labels, predicted = [0] * 10, [0] * 6 + [1] * 4
    assert metric_values(scored(labels, predicted, confidence=0.9))["ece"] == pytest.approx(0.3)


def test_a_confidence_on_a_bin_edge_belongs_to_the_bin_below(scored):
    bins, _ = calibration_gaps(scored([0, 0], [0, 0], ("a", "b", "c"), confidence=0.6))
    assert bins.tolist() == [8, 8]
    bins, _ = calibration_gaps(scored([0], [0], confidence=1.0))
    assert bins.tolist() == [14]


def test_log_loss_of_a_certain_mistake_is_large_but_finite(scored):
    assert metric_values(scored([0, 1], [1, 1], confidence=1.0))["log_loss"] == pytest.approx(
        -np.log(np.finfo(float).eps) / 2
    )


def test_every_monitor_is_computed_after_each_epoch(drawn):
    predictions = drawn(100, 3, seed=0)
    quick = quick_metrics(predictions.labels, predictions.probabilities)
    assert {f"val_{name}" for name in quick} == set(MONITORS)
