import pytest

from ftcli.report.charts.svg import (
    Scale,
    add,
    decades,
    drawing,
    epoch_ticks,
    fitted,
    markup,
    percent_labels,
    tick_labels,
    ticks,
    write,
)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 0.47, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (0.90, 0.98, [0.9, 0.92, 0.94, 0.96, 0.98]),
        (0, 1234, [0, 500, 1000, 1500]),
        (2.0, 2.0, [1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, wanted):
    assert ticks(low, high, 6) == pytest.approx(wanted)


def test_epochs_have_whole_ticks_from_the_first_on():
    assert epoch_ticks(1, 9) == [1]
    assert epoch_ticks(6, 9) == [1, 2, 3, 4, 5, 6]
    assert epoch_ticks(300, 9) == [1, 50, 100, 150, 200, 250, 300]


def test_labels_have_the_digits_that_their_step_needs():
    assert tick_labels([0, 0.05, 0.1]) == ["0.00", "0.05", "0.10"]
    assert tick_labels([0, 500]) == ["0", "500"]
    assert percent_labels([0.95, 0.955, 0.96]) == ["95.0 %", "95.5 %", "96.0 %"]


def test_decades_are_at_most_five_powers_of_ten():
    assert decades(0.01, 10) == [0.01, 0.1, 1, 10]
    assert len(decades(1e-9, 1e9)) <= 5


def test_a_scale_goes_both_ways_and_puts_a_lone_value_in_the_middle():
    scale = Scale(0, 10, 100, 300)
    assert (scale(5), scale.value(200)) == (200, 5)
    assert Scale(7, 7, 0, 80)(7) == 40
    assert Scale(0.01, 100, 0, 80, logarithmic=True)(1) == 40


def test_texts_and_attributes_of_a_drawing_are_escaped():
    picture = drawing(10, 10, label='<b> "&')
    write(picture, "</text><script>\x1b", 1, 2)
    add(picture, "rect", fill='"><script>')
    text = markup(picture)
    assert "<script" not in text
    assert "<b>" not in text
    assert "\\x1b" in text
    assert 'aria-label="&lt;b&gt; &quot;&amp;"' in text


def test_a_text_is_cut_to_its_room():
    assert fitted("short", 200) == "short"
    assert fitted("a rather long name", 69) == "a rather …"
    assert fitted("abc", 5) == ""
