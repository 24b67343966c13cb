import dataclasses

import pytest
from helpers.comparing import compare_predictions
from helpers.support import predictions_with

from ftcli.evaluation.compare.result import RunPair
from ftcli.report.format import VAL_CHOSE_THE_EPOCH
from ftcli.report.plain import as_text
from ftcli.report.text.compare import pair_sections, verdict


def _comparison(wrong_a, wrong_b, **predictions):
    names = ("runs/baseline", "runs/other")
    a, b = predictions_with(wrong_a, **predictions), predictions_with(wrong_b, **predictions)
    return compare_predictions(a, b, names=names, resamples=50)


def _text(comparison, recipe_changes=None, *, chose_epoch=(True, True), width=80):
    return as_text(pair_sections(RunPair(comparison, recipe_changes or {}, {}, chose_epoch, None)), width=width)


def _classes(count):
    return tuple(f"class-{number:03d}" for number in range(count))


def _line(text, start):
    return next(line for line in text.splitlines() if line.strip().startswith(start))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("count", [2, 20, 60])
def test_tables_fit_the_width(count, width):
    comparison = _comparison(range(0, 9000, 7), range(0, 9000, 5), images=9000, classes=_classes(count))
    assert max(map(len, _text(comparison, width=width).splitlines())) <= width


def test_a_comparison_says_in_plain_words_what_the_data_can_tell():
    comparison = _comparison(range(11), [7, 8, 9, 10, 100, 101, 102])
    assert verdict(comparison) == (
        "B is right on 7 images that A gets wrong, A on 3 that B gets wrong; two-sided p = 0.34: "
        "no significant difference in accuracy."
    )
    text = _text(comparison, {"strategy.lr": {"a": {"head": 0.01}, "b": None}})
    assert _line(text, "accuracy").split() == ["accuracy", "92.8", "%", "95.4", "%", "+2.6", "-1.8", "to", "+6.9"]
    assert "A  runs/baseline\nB  runs/other" in text
    assert 'strategy.lr: {"head": 0.01} -> null' in text
    assert "val/ants/0.jpg: ants (A bees 0.90, B ants 0.90)" in text
    assert "A was right, B is wrong: 3 images" in text
    assert "6 one-way flips (3.9 points)" in text


def test_a_clear_difference_names_the_better_run():
    assert verdict(_comparison(range(20), [])).endswith("two-sided p < 0.001: B is more accurate on these images.")
    assert verdict(_comparison([], range(6))).endswith("two-sided p = 0.031: A is more accurate on these images.")
    assert "the same images" in verdict(_comparison([1], [1]))


def test_flips_are_cut_to_ten_each_way_with_their_number():
    text = _text(_comparison(range(25), []))
    assert "B is right, A was wrong: 25 images" in text
    assert text.count("val/") == 10
    assert "and 15 more" in text


def test_images_of_one_run_alone_and_repeats_are_said():
    comparison = dataclasses.replace(_comparison([1], []), only_a=3, only_b=1, repeats=2)
    text = _text(comparison)
    assert "3 images scored by A alone: not counted" in text
    assert "1 image scored by B alone: not counted" in text
    assert "2 rows with the content of another image: counted once" in text


def test_long_paths_are_never_broken():
    folder = "/".join(["a-rather-long-folder"] * 10)
    text = _text(_comparison([0], [], folder=folder), width=80)
    assert f"{folder}/ants/0.jpg" in text


def test_markup_in_names_is_shown_as_it_is():
    text = _text(_comparison([0], [], classes=("[red]ants", "[/]bees")), {"[b]": {"a": "[i]", "b": 1}})
    assert "val/[red]ants/0.jpg: [red]ants (A [/]bees 0.90, B [red]ants 0.90)" in text
    assert "[b]: [i] -> 1" in text


def test_names_that_no_terminal_can_show_are_escaped():
    text = _text(_comparison([0, 1], [], classes=("a\udcff", "b\n")), width=120)
    assert r"val/a\udcff/0.jpg: a\udcff (A b\n 0.90, B a\udcff 0.90)" in text
    assert r"val/b\n/1.jpg: b\n (A a\udcff 0.90, B b\n 0.90)" in text
    text.encode("utf-8")


def test_a_comparison_says_that_validation_flatters_both():
    assert VAL_CHOSE_THE_EPOCH in _text(_comparison([], []), width=300)
