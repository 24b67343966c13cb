import dataclasses

import numpy as np
import pytest

from ftcli.evaluation.comparison import compare_predictions
from ftcli.evaluation.metrics import evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.report.tables import comparison_text, evaluation_text, verdict
from ftcli.report.text import printable
from ftcli.report.wording import VAL_CHOSE_THE_EPOCH


def _predictions(wrong, *, images=153, classes=("ants", "bees"), folder="val"):
    count = len(classes)
    labels = np.arange(images, dtype=np.int64) % count
    predicted = np.where(np.isin(np.arange(images), list(wrong)), (labels + 1) % count, labels)
    probabilities = np.full((images, count), 0.1 / (count - 1))
    probabilities[np.arange(images), predicted] = 0.9
    paths = tuple(f"{folder}/{classes[label]}/{image}.jpg" for image, label in enumerate(labels))
    return Predictions(classes, paths, paths, labels, probabilities)


def _classes(count):
    return tuple(f"class-{number:03d}" for number in range(count))


def _evaluation(wrong=(), **predictions):
    return evaluate(_predictions(wrong, **predictions), resamples=50)


def _comparison(wrong_a, wrong_b, **predictions):
    names = ("runs/baseline", "runs/other")
    a, b = _predictions(wrong_a, **predictions), _predictions(wrong_b, **predictions)
    return compare_predictions(a, b, names=names, resamples=50)


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
    predictions = _predictions([], images=2, classes=("ants", "bees", "wasps"))
    assert _line(evaluation_text(evaluate(predictions, resamples=10)), "wasps").split() == ["wasps", "0", "-", "-", "-"]


def test_many_classes_are_cut_to_thirty_rows_with_a_word_about_the_rest():
    text = evaluation_text(_evaluation(range(0, 200, 7), images=200, classes=_classes(50)))
    assert "class-029 " in text
    assert "class-030  " not in text.split("Most confused")[0]
    assert "and 20 more" in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("count", [2, 3, 10, 20, 21, 60])
def test_tables_fit_the_width(count, width):
    text = evaluation_text(
        _evaluation(range(0, 9000, 7), images=9000, classes=_classes(count)), notes=["note " * 40], width=width
    )
    assert max(map(len, text.splitlines())) <= width
    comparison = _comparison(range(0, 9000, 7), range(0, 9000, 5), images=9000, classes=_classes(count))
    text = comparison_text(comparison, {}, width=width)
    assert max(map(len, text.splitlines())) <= width


def test_few_classes_show_a_confusion_matrix_and_many_the_most_confused_pairs():
    assert "1: ants 66 11\n  2: bees  0 76" in evaluation_text(_evaluation(range(0, 22, 2)))
    many = evaluation_text(_evaluation(range(21), images=90, classes=_classes(30)))
    assert "Confusion matrix" not in many
    assert _line(many.split("Most confused")[1], "class-000").split() == ["class-000", "class-001", "1"]
    assert "and 11 more pairs" in many
    assert "No class was confused" in evaluation_text(_evaluation(images=90, classes=_classes(30)))


def test_a_matrix_that_does_not_fit_gives_way_to_pairs():
    classes = tuple(f"{'long ' * 12}{number}" for number in range(20))
    text = evaluation_text(_evaluation(range(0, 40, 3), images=400, classes=classes), width=80)
    assert "Most confused" in text


def test_a_comparison_says_in_plain_words_what_the_data_can_tell():
    comparison = _comparison(range(11), [7, 8, 9, 10, 100, 101, 102])
    assert verdict(comparison) == (
        "B is right on 7 images that A gets wrong, A on 3 that B gets wrong; p = 0.34: the data cannot tell them apart."
    )
    text = comparison_text(comparison, {"strategy.lr": {"a": {"head": 0.01}, "b": None}})
    assert _line(text, "accuracy").split() == ["accuracy", "92.8", "%", "95.4", "%", "+2.6", "-1.8", "to", "+6.9"]
    assert "A  runs/baseline\nB  runs/other" in text
    assert 'strategy.lr: {"head": 0.01} -> null' in text
    assert "val/ants/0.jpg: ants (A bees 0.90, B ants 0.90)" in text
    assert "A was right, B is wrong: 3 images" in text
    assert "6 one-way flips (3.9 points)" in text


def test_a_clear_difference_names_the_better_run():
    assert verdict(_comparison(range(20), [])).endswith("p < 0.001: B is better on these images.")
    assert verdict(_comparison([], range(6))).endswith("p = 0.031: A is better on these images.")
    assert "the same images" in verdict(_comparison([1], [1]))


def test_flips_are_cut_to_ten_each_way_with_their_number():
    text = comparison_text(_comparison(range(25), []), {})
    assert "B is right, A was wrong: 25 images" in text
    assert text.count("val/") == 10
    assert "and 15 more" in text


def test_images_of_one_run_alone_and_repeats_are_said():
    comparison = dataclasses.replace(_comparison([1], []), only_a=3, only_b=1, repeats=2)
    text = comparison_text(comparison, {})
    assert "3 images scored by A alone: not counted" in text
    assert "1 image scored by B alone: not counted" in text
    assert "2 rows with the content of another image: counted once" in text


def test_long_paths_are_never_broken():
    folder = "/".join(["a-rather-long-folder"] * 10)
    text = comparison_text(_comparison([0], [], folder=folder), {}, width=80)
    assert f"{folder}/ants/0.jpg" in text


def test_markup_in_names_is_shown_as_it_is():
    text = evaluation_text(_evaluation([0], classes=("[red]ants", "[/]bees")))
    assert "[red]ants" in text
    assert "[/]bees" in text
    text = comparison_text(_comparison([0], [], classes=("[red]ants", "[/]bees")), {"[b]": {"a": "[i]", "b": 1}})
    assert "val/[red]ants/0.jpg: [red]ants (A [/]bees 0.90, B [red]ants 0.90)" in text
    assert "[b]: [i] -> 1" in text


def test_names_that_no_terminal_can_show_are_escaped():
    assert printable("a\x1b[31m\n\udcff é.jpg") == "a\\x1b[31m\\n\\udcff é.jpg"
    comparison_text(_comparison([0], [], classes=("a\udcff", "b\n")), {}).encode("utf-8")
    evaluation_text(_evaluation([0], classes=("a\udcff", "b\n"))).encode("utf-8")


def test_a_comparison_says_that_validation_flatters_both():
    assert VAL_CHOSE_THE_EPOCH in comparison_text(_comparison([], []), {}, width=300)
