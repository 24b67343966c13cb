import pytest

from ftcli.evaluation.predictions import Seen
from ftcli.report.format import deviation_text, p_figure, printable, seen_notes


def test_characters_that_no_terminal_can_show_are_escaped():
    assert printable("a\x1b[31m\n\udcff é.jpg") == "a\\x1b[31m\\n\\udcff é.jpg"


def test_a_deviation_has_the_unit_of_its_metric_and_no_sign():
    assert deviation_text("accuracy", 0.0125) == "1.2"
    assert deviation_text("log_loss", 0.0125) == "0.013"
    assert deviation_text("accuracy", None) == "-"


@pytest.mark.parametrize(("value", "text"), [(0.0001, "< 0.001"), (0.0312, "0.031"), (1.0, "1")])
def test_p_values_have_two_digits(value, text):
    assert p_figure(value) == text


def test_notes_count_the_images_that_were_seen_unless_all_were():
    assert seen_notes(Seen(5, 0, None)) == ()
    trained_on, chose = seen_notes(Seen(1200, 1100, 1200))
    assert "1,100 of these 1,200 images" in trained_on
    assert "on these images" in chose
