from dataclasses import replace

import numpy as np
import pytest
from helpers.support import predictions_with

from ftcli.evaluation.abstention import abstention
from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.ranking import with_ranking
from ftcli.evaluation.temperature import calibrate
from ftcli.report.format import VAL_CHOSE_THE_EPOCH
from ftcli.report.markdown import as_markdown
from ftcli.report.plain import as_text
from ftcli.report.text.eval import eval_sections


def evaluation_text(evaluation, *, width=80, **more):
    return as_text(eval_sections(evaluation, **more), width=width)


def _evaluation(wrong=(), **predictions):
    return evaluate(predictions_with(wrong, **predictions), resamples=50)


def _classes(count):
    return tuple(f"class-{number:03d}" for number in range(count))


def _line(text, start):
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_an_evaluation_leads_with_metrics_and_their_intervals():
    text = evaluation_text(_evaluation(range(11)))
    assert text.startswith("153 images, 2 classes")
    assert _line(text, "accuracy").split() == ["accuracy", "92.8", "%", "87.6", "%", "to", "95.9", "%"]
    assert "log loss (lower is better)" in text
    assert "top-5" not in text


def test_notes_come_last():
    text = evaluation_text(_evaluation(), notes=[VAL_CHOSE_THE_EPOCH], width=200)
    assert text.endswith(VAL_CHOSE_THE_EPOCH)
    assert VAL_CHOSE_THE_EPOCH not in evaluation_text(_evaluation(), width=200)


def test_undefined_figures_are_a_dash():
    predictions = predictions_with([], images=2, classes=("ants", "bees", "wasps"))
    assert _line(evaluation_text(evaluate(predictions, resamples=10)), "wasps").split()[1:] == ["0", "-", "-", "-", "-"]


def test_classes_without_images_are_named_with_what_the_means_then_leave_out():
    predictions = predictions_with([], images=2, classes=("ants", "bees", "wasps"))
    text = " ".join(evaluation_text(evaluate(predictions, resamples=10)).split())
    assert "No scored image is of wasps: balanced accuracy and macro F1 are means over the other 2 classes." in text
    assert "No scored image" not in evaluation_text(_evaluation())
    ranked = " ".join(evaluation_text(with_ranking(evaluate(predictions, resamples=10), predictions)).split())
    assert "balanced accuracy, macro F1, ROC-AUC and average precision are means over the other 2 classes." in ranked


def test_uneven_classes_are_said_to_be_so_and_a_class_that_is_never_predicted_is_named_first():
    predictions = predictions_with([], images=110)
    uneven = replace(
        predictions, given_labels=np.repeat([0, 1], [100, 10]), probabilities=np.tile([0.9, 0.1], (110, 1))
    )
    evaluation = evaluate(uneven, resamples=10)
    text = _words(evaluation_text(evaluation))
    assert text.index("never predicts bees: all 10 images of it are wrong") < text.index("accuracy 90.9 %")
    assert "always answering ants has an accuracy of 90.9 %" in text
    assert "balanced accuracy, 50.0 %" in text
    assert "**The model never predicts bees" in as_markdown(eval_sections(evaluation), title="a")
    one = replace(uneven, given_labels=np.repeat([0, 1], [109, 1]))
    assert "bees: its image is wrong" in _words(evaluation_text(evaluate(one, resamples=10)))
    assert "never predicts" not in evaluation_text(_evaluation())
    assert "uneven" not in evaluation_text(_evaluation())


def test_many_classes_are_cut_to_thirty_rows_with_a_word_about_the_rest():
    text = evaluation_text(_evaluation(range(0, 200, 7), images=200, classes=_classes(50)))
    assert "class-029 " in text
    assert "class-030  " not in text.split("Most confused")[0]
    assert "and 20 more" in text


def test_few_classes_show_a_confusion_matrix_and_many_the_most_confused_pairs():
    assert "       ants bees\n  ──────────────\n  ants   66   11\n  bees    0   76" in evaluation_text(
        _evaluation(range(0, 22, 2))
    )
    many = evaluation_text(_evaluation(range(21), images=90, classes=_classes(30)))
    assert "Confusion matrix" not in many
    assert "Most confused (21 pairs)" in many
    assert _line(many.split("Most confused")[1], "class-000").split()[:3] == ["class-000", "class-001", "1"]
    assert "and 11 more; --json has them all" in many
    assert "No class was confused" in evaluation_text(_evaluation(images=90, classes=_classes(30)))


def test_a_matrix_that_does_not_fit_gives_way_to_pairs():
    classes = tuple(f"{'long ' * 12}{number}" for number in range(20))
    text = evaluation_text(_evaluation(range(0, 40, 3), images=400, classes=classes), width=80)
    assert "Most confused" in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("count", [2, 3, 10, 20, 21, 60])
def test_tables_fit_the_width(count, width):
    evaluation = _evaluation(range(0, 9000, 7), images=9000, classes=_classes(count))
    text = evaluation_text(evaluation, notes=["note " * 40], width=width)
    assert max(map(len, text.splitlines())) <= width


def test_markup_in_names_is_shown_as_it_is():
    text = evaluation_text(_evaluation([0], classes=("[red]ants", "[/]bees")))
    assert "[red]ants" in text
    assert "[/]bees" in text


def test_names_that_no_terminal_can_show_are_escaped():
    text = evaluation_text(_evaluation([0], classes=("a\udcff", "b\n\x1b[31m")))
    assert _line(text, r"a\ud").split()[0] == r"a\udcff"
    assert _line(text, r"b\n").split()[0] == r"b\n\x1b[31m"


@pytest.mark.parametrize("width", [10, 40, 62, 66])
def test_a_narrow_screen_loses_no_name_and_no_figure(width):
    evaluation = _evaluation(range(0, 90, 7), images=90, classes=("ants", "a-class-of-rather-many-letters"))
    wide, narrow = (evaluation_text(evaluation, width=columns) for columns in (120, width))
    for row in ("accuracy", "ants"):
        assert _line(narrow, row).split() == _line(wide, row).split()
    assert {word for word in wide.split() if "." in word} <= set(narrow.split())
    assert "a-class-of-r" in narrow
    assert "class" in _line(narrow, "class").split()


def test_a_matrix_of_classes_that_are_digits_has_them_at_the_head_of_its_columns():
    text = evaluation_text(_evaluation([0], images=30, classes=tuple(map(str, range(10)))))
    head, _, first, *_ = text.partition("predicted ones\n")[2].splitlines()
    assert head.split() == list("0123456789")
    assert first.split() == ["0", "2", "1", *8 * "0"]


def test_a_matrix_of_long_names_numbers_them():
    text = evaluation_text(_evaluation(range(0, 22, 2), classes=("carpenter ants", "bees")))
    assert "1: carpenter ants 66 11\n  2: bees            0 76" in text


def _words(text):
    return " ".join(text.split())


def _others(predictions):
    """The same predictions as if of other images."""
    contents = tuple(f"other {content}" for content in predictions.sha256)
    return Predictions(predictions.classes, predictions.paths, contents, predictions.labels, predictions.probabilities)


def _calibrated(predictions, calibration):
    return evaluation_text(evaluate(predictions, resamples=10), calibration=calibration)


def test_a_calibration_says_what_it_was_fitted_on_and_what_it_changes():
    predictions = predictions_with(range(40))
    text = _calibrated(predictions, calibrate(predictions, _others(predictions), source="val of data"))
    assert "fitted on val of data (153 images)." in _words(text)
    assert "cross-fitted" not in text
    assert "log loss (lower is better)" in text


def test_a_calibration_warns_where_its_figures_are_not_to_be_trusted():
    predictions = predictions_with([])
    text = _words(
        _calibrated(predictions, calibrate(predictions, predictions, source="train of data", trained_on=True))
    )
    for words in ("the figures are cross-fitted", "trained on these images", "ignore this temperature"):
        assert words in text


def test_a_threshold_is_suggested_with_the_precision_it_guarantees():
    confident = predictions_with(range(10))
    probabilities = confident.probabilities.copy()
    probabilities[:20] = np.where(probabilities[:20] > 0.5, 0.6, 0.4)
    graded = Predictions(confident.classes, confident.paths, confident.sha256, confident.labels, probabilities)
    text = _words(evaluation_text(evaluate(graded, resamples=10), abstention=abstention(graded, target=0.9)))
    assert "Answer at a confidence of 0.9000 or more: 86.9 % of the images are answered, 100.0 % of them right" in text
    assert "at 95 % confidence at least 90.0 %" in text
