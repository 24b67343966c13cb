import pytest

from ftcli.errors import GateError, UsageError
from ftcli.evaluation.compare.evidence import PairEvidence
from ftcli.evaluation.compare.pairing import pair_by_content
from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.gates import (
    Rule,
    Rules,
    check_expectations,
    check_limits,
    check_metric,
    judge,
    parse_rule,
    raise_failed,
    unchecked,
)
from ftcli.metrics import METRICS, Metric

LABELS = [image % 2 for image in range(400)]


def _wrong(*images):
    return [1 - label if image in images else label for image, label in enumerate(LABELS)]


@pytest.fixture
def against(scored):
    """Evidence of run b, with so many errors, against run a, which has ten others."""

    def build(errors, name="b"):
        a, b = scored(LABELS, _wrong(*range(10))), scored(LABELS, _wrong(*range(100, 100 + errors)))
        return PairEvidence(("a", name), pair_by_content(a, b, names=("a", name)))

    return build


@pytest.mark.parametrize(
    ("rule", "errors", "holds"),
    [
        ("worse", 18, True),  # 18 lost, 10 gained: p = 0.092
        ("worse", 21, False),  # p = 0.035
        ("worse", 0, True),
        ("not-better", 0, True),  # p = 0.001
        ("not-better", 4, False),  # p = 0.09
        ("not-better", 30, False),
        ("drop:0.01", 14, True),  # exactly one point
        ("drop:0.01", 15, False),
        ("drop:0", 10, True),
        ("drop:0", 11, False),
        ("not-equivalent:0.05", 10, True),
        ("not-equivalent:0.01", 10, False),
        ("not-equivalent:0.05", 60, False),
    ],
)
def test_a_gate_holds_or_fails(against, rule, errors, holds):
    (gate,) = judge(Rules((parse_rule(rule),)), [against(errors)])
    assert gate.holds == holds, gate.sentence
    assert (gate.rule, gate.metric, gate.run) == (rule, "accuracy", "b")
    assert "b is " in gate.sentence
    assert " a in accuracy" in gate.sentence


@pytest.mark.parametrize("rule", ["drop:0", "worse"])
def test_a_higher_log_loss_is_worse_and_a_lower_one_better(against, rule):
    rules = Rules((parse_rule(rule),), ("log_loss",))
    assert not judge(rules, [against(60)])[0].holds
    assert judge(rules, [against(0)])[0].holds


def test_a_larger_level_makes_worse_more_eager(against):
    rule = (parse_rule("worse"),)
    assert judge(Rules(rule), [against(18)])[0].holds
    assert not judge(Rules(rule, alpha=0.1), [against(18)])[0].holds


def test_worse_is_adjusted_for_the_number_of_runs(against):
    rules = Rules((parse_rule("worse"),))
    alone, (first, second, third) = judge(rules, [against(21)])[0], judge(rules, [against(21), against(0), against(12)])
    assert first.p_value == pytest.approx(3 * alone.p_value)
    assert (alone.holds, first.holds, second.holds, third.holds) == (False, True, True, True)


def test_every_rule_has_a_gate_for_every_metric_and_run(against):
    rules = Rules((parse_rule("worse"), parse_rule("drop:0.5")), ("accuracy", "macro_f1"))
    gates = judge(rules, [against(10, "b"), against(12, "c")])
    assert len(gates) == 8
    assert {(gate.rule, gate.metric, gate.run) for gate in gates} >= {("worse", "macro_f1", "c")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wrose", "Did you mean worse?"),
        ("not_better", "Did you mean not-better?"),
        ("drop", "drop:0.01"),
        ("worse:0.1", "takes no limit"),
        ("drop:ten", "'ten'"),
        ("drop:-0.1", "'-0.1'"),
        ("drop:nan", "'nan'"),
        ("not-equivalent:0", "'0'"),
        ("x", "The rules are worse, not-better, drop:0.01, not-equivalent:0.02"),
    ],
)
def test_an_invalid_rule_is_refused_with_the_valid_form(text, words):
    with pytest.raises(UsageError, match="--fail-if") as caught:
        parse_rule(text)
    assert words in str(caught.value)


def test_a_rule_is_shown_as_it_was_written():
    assert str(parse_rule(" drop:0.010 ")) == "drop:0.01"
    assert str(parse_rule("worse")) == "worse"
    assert parse_rule("not-equivalent:2e-2") == Rule("not-equivalent", 0.02)


def test_an_unknown_metric_is_refused_with_the_nearest(against):
    with pytest.raises(UsageError, match="Did you mean macro_f1"):
        check_metric("macrof1")
    with pytest.raises(UsageError, match="top5_accuracy"):
        judge(Rules((parse_rule("worse"),), ("top5_accuracy",)), [against(1)])


def test_failed_gates_raise_with_their_number_and_others_do_not(against):
    gates = judge(Rules((parse_rule("worse"), parse_rule("drop:0.5"))), [against(60)])
    with pytest.raises(GateError) as caught:
        raise_failed(gates)
    assert caught.value.exit_code == 4
    assert "1 of 2" in caught.value.message
    assert "worse (accuracy of b)" in caught.value.message
    raise_failed(gates[1:])


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
def test_an_expectation_of_a_split_is_about_that_split_alone(evaluation, split, checked):
    expect = {"val_accuracy": ">= 0.9", "test_accuracy": ">= 0.8", "worst_class_recall": ">= 0.7"}
    gates = check_expectations(expect, evaluation, split=split, run="a")
    assert [gate.metric for gate in gates] == checked
    assert set(unchecked(expect, split=split)) == set(expect) - set(checked)


@pytest.mark.parametrize(("limit", "can_fail"), [("drop:1.9", True), ("drop:2", False)])
def test_a_limit_is_held_against_the_range_of_its_metric(monkeypatch, limit, can_fail):
    monkeypatch.setitem(METRICS, "kappa", Metric("kappa", "kappa", low=-1.0))
    rules = Rules((parse_rule(limit),), ("kappa",))
    if can_fail:
        check_limits(rules)
    else:
        with pytest.raises(UsageError, match="kappa goes from -1 to 1"):
            check_limits(rules)
