import pytest

from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.gates import check_expectations, unchecked


@pytest.fixture
def evaluation(scored):
    """75 % of ants and 100 % of bees are right."""
    return evaluate(scored([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]), resamples=20)


@pytest.mark.parametrize(
    ("name", "condition", "holds"),
    [
        ("val_accuracy", ">= 0.875", True),
        ("val_accuracy", "> 0.875", False),
        ("accuracy", ">=.9", False),
        ("worst_class_recall", ">= 0.75", True),
        ("val_worst_class_recall", "> 7.6e-1", False),
        ("val_log_loss", "<= 5", True),
        ("val_ece", "< 0.0001", False),
    ],
)
def test_a_figure_is_held_against_its_condition(evaluation, name, condition, holds):
    (gate,) = check_expectations({name: condition}, evaluation, split="val", run="runs/a")
    assert (gate.holds, gate.metric, gate.run) == (holds, name, "runs/a")
    assert condition in gate.sentence


def test_the_worst_class_is_named(evaluation):
    (gate,) = check_expectations({"worst_class_recall": ">= 0.9"}, evaluation, split="val", run="a")
    assert "0.7500, of ants with 4 images" in gate.sentence


@pytest.mark.parametrize(
    ("split", "checked"),
    [
        ("val", ["val_accuracy", "worst_class_recall"]),
        ("test", ["test_accuracy", "worst_class_recall"]),
        ("train", ["worst_class_recall"]),
        (None, ["worst_class_recall"]),
    ],
)
def test_an_expectation_of_a_split_speaks_of_that_split_alone(evaluation, split, checked):
    expect = {"val_accuracy": ">= 0.9", "test_accuracy": ">= 0.8", "worst_class_recall": ">= 0.7"}
    gates = check_expectations(expect, evaluation, split=split, run="a")
    assert [gate.metric for gate in gates] == checked
    assert set(unchecked(expect, split=split)) == set(expect) - set(checked)
