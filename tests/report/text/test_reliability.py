import numpy as np
from helpers.support import predictions_with

from ftcli.evaluation.abstention import abstention
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.temperature import calibrate
from ftcli.report.text.eval import abstention_text, calibration_text


def _words(text: str) -> str:
    return " ".join(text.split())


def _others(predictions: Predictions) -> Predictions:
    """The same predictions as if of other images."""
    contents = tuple(f"other {content}" for content in predictions.sha256)
    return Predictions(predictions.classes, predictions.paths, contents, predictions.labels, predictions.probabilities)


def test_a_calibration_says_what_it_was_fitted_on_and_what_it_changes() -> None:
    predictions = predictions_with(range(40))
    text = calibration_text(calibrate(predictions, _others(predictions), source="val of data"))
    assert "fitted on val of data (153 images)." in _words(text)
    assert "cross-fitted" not in text
    assert "log loss (lower is better)" in text


def test_a_calibration_warns_of_what_makes_it_worthless() -> None:
    predictions = predictions_with([])
    text = _words(calibration_text(calibrate(predictions, predictions, source="train of data", trained_on=True)))
    for words in ("the figures are cross-fitted", "The network was trained on them", "do not rely on this temperature"):
        assert words in text


def test_a_threshold_is_suggested_with_its_promise() -> None:
    confident = predictions_with(range(10))
    probabilities = confident.probabilities.copy()
    probabilities[:20] = np.where(probabilities[:20] > 0.5, 0.6, 0.4)
    graded = Predictions(confident.classes, confident.paths, confident.sha256, confident.labels, probabilities)
    text = _words(abstention_text(abstention(graded, target=0.9)))
    assert "Answer from a confidence of 0.9000 on: 86.9 % of the images are answered, 100.0 % of them right" in text
    assert "at 95 % confidence at least 90.0 %" in text
