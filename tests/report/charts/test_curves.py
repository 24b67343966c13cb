import math

from ftcli.report.charts.curves import Curve, CurveChart, Span, draw_curves
from ftcli.report.charts.svg import markup


def _texts(picture):
    return [element.text for element in picture.iter("text")]


def _classes(picture, tag):
    return [element.get("class") for element in picture.iter(tag)]


def test_curves_say_in_words_what_they_show():
    chart = CurveChart("Accuracy", (Curve("val", "a", (0.5, 0.9, 0.8), best=2),), shares=True)
    label = draw_curves(chart, 340).get("aria-label")
    assert label == "Accuracy over 3 epochs. val: from 50.0 % to 80.0 %, 90.0 % in the best epoch, 2."


def test_a_single_epoch_is_a_mark_without_a_line():
    picture = draw_curves(CurveChart("Loss", (Curve("val", "a", (0.5,), best=1),)), 340)
    assert "line a" not in _classes(picture, "polyline")
    assert "mark a" in _classes(picture, "circle")


def test_what_is_not_finite_is_left_out_of_a_curve():
    picture = draw_curves(CurveChart("Loss", (Curve("val", "a", (0.5, math.nan, 0.2)),)), 340)
    (line,) = picture.iter("polyline")
    assert len(line.get("points").split()) == 2
    assert "nan" not in markup(picture).split("aria-label")[1].split('"', 2)[2]


def test_phases_are_named_where_all_names_fit_and_numbered_where_they_do_not():
    def shown(*names):
        spans = tuple(Span(i + 1, name, 1 + 2 * i, 2 + 2 * i) for i, name in enumerate(names))
        chart = CurveChart("Loss", (Curve("val", "a", (0.5,) * 2 * len(names)),), spans)
        return [element.text for element in draw_curves(chart, 340).iter("text") if element.get("class") == "phase"]

    assert shown("head", "body") == ["head", "body"]
    assert shown("head", "a very long name of a phase") == ["1", "2"]


def test_an_axis_of_shares_never_makes_much_of_a_single_image():
    texts = _texts(draw_curves(CurveChart("Accuracy", (Curve("val", "a", (0.954, 0.960)),), shares=True), 340))
    assert next(text for text in texts if text.endswith("%")) in {"90 %", "91 %"}
