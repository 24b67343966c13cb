"""Predictions at the edge of what can be evaluated: nothing may fail, and JSON has no NaN."""

import json
from dataclasses import asdict

import pytest
from helpers.comparing import compare_predictions

from ftcli.evaluation.abstention import abstention
from ftcli.evaluation.compare.evidence import PairEvidence
from ftcli.evaluation.compare.pairing import pair_by_content
from ftcli.evaluation.compare.replicates import replicates_evidence
from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.gates import Rules, judge, parse_rule
from ftcli.evaluation.ranking import with_ranking
from ftcli.metrics import COMPARABLE
from ftcli.report.plain import as_text
from ftcli.report.text.eval import eval_sections

THREE = ("ants", "bees", "wasps")
ODD = {
    "a single image, right": ([0], [0], ("ants", "bees")),
    "a single image, wrong": ([0], [1], ("ants", "bees")),
    "a single class": ([1, 1, 1], [1, 0, 1], ("ants", "bees")),
    "a class without images": ([0, 0, 1, 1], [0, 2, 1, 1], THREE),
    "a class that is wrong everywhere": ([0, 0, 1, 1, 2, 2], [0, 0, 2, 2, 2, 2], THREE),
    "everything wrong": ([0, 1, 0, 1], [1, 0, 1, 0], ("ants", "bees")),
    "everything right": ([0, 1, 0, 1], [0, 1, 0, 1], ("ants", "bees")),
    "seven classes, two of them scored": ([0, 6], [6, 6], tuple("abcdefg")),
}


@pytest.fixture(params=ODD.values(), ids=ODD.keys())
def predictions(request, scored):
    labels, predicted, classes = request.param
    return scored(labels, predicted, classes)


def test_they_are_evaluated(predictions):
    evaluation = with_ranking(evaluate(predictions, resamples=50), predictions)
    assert json.dumps(evaluation.to_json(), allow_nan=False)
    assert as_text(eval_sections(evaluation))
    assert json.dumps(asdict(abstention(predictions, target=0.9)), allow_nan=False)
    for name, interval in evaluation.metrics.items():
        assert interval.low <= interval.value <= interval.high, name


def test_they_are_compared_and_gated(predictions, scored):
    right = scored(predictions.labels.tolist(), predictions.labels.tolist(), predictions.classes)
    comparison = compare_predictions(right, predictions, resamples=50)
    assert json.dumps(comparison.to_json(), allow_nan=False)
    assert 0 < comparison.equivalent_within <= 1
    metrics = tuple(name for name in COMPARABLE if name in comparison.metrics)
    rules = tuple(map(parse_rule, ("worse", "not-better", "drop:0.01", "not-equivalent:0.02")))
    paired = pair_by_content(right, predictions, names=("a", "b"))
    group = replicates_evidence(("a", "b"), [right, right], [predictions, predictions], resamples=20)
    gates = judge(Rules(rules, metrics), [PairEvidence(("a", "b"), paired), group])
    assert json.dumps([asdict(gate) for gate in gates], allow_nan=False)
