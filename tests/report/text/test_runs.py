from helpers.support import predictions_with

from ftcli.evaluation.evaluate import evaluate
from ftcli.plan import Phase, Plan
from ftcli.records import RunSummary
from ftcli.report.text.train import run_text


def test_a_run_that_was_scored_without_a_class_says_so():
    evaluation = evaluate(predictions_with([], images=2, classes=("ants", "bees", "wasps")), resamples=10)
    plan = Plan("gradual", ("head",), (Phase("head", 1, {"head": 0.1}, None),))
    text = run_text(RunSummary(1, 1, "val_accuracy", {}, 2, 1.0, 1.0), evaluation, plan, [])
    assert "No scored image is of wasps: balanced accuracy and macro F1" in text
