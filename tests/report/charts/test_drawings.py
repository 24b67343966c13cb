import math

import pytest
from helpers.recorded_runs import records_of

from ftcli.plan import Phase, Plan
from ftcli.report.charts.curves import Curve, CurveChart, Span, draw_curves
from ftcli.report.charts.diagrams import draw_confusion
from ftcli.report.charts.svg import add, drawing, fitted, markup, write
from ftcli.report.charts.timeline import draw_timeline, rows_of, strength


def _texts(picture):
    return [element.text for element in picture.iter("text")]


def _classes(picture, tag):
    return [element.get("class") for element in picture.iter(tag)]


def _plan(*rates, solver="sgd"):
    groups = tuple(f"g{i}" for i in range(len(rates[0])))
    phases = [
        Phase(f"phase {n}", 2, dict(zip(groups, each, strict=True)), None, solver) for n, each in enumerate(rates)
    ]
    return Plan("phases", groups, tuple(phases))


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


def test_groups_that_train_alike_share_a_row_with_the_head_on_top():
    rows = rows_of(_plan((None, None, 0.1, 0.1), (None, None, 0.1, 0.1)))
    assert [(row.name, row.groups) for row in rows] == [("g2 … g3", 2), ("g0 … g1", 2)]


def test_a_rate_is_coloured_by_its_logarithm():
    rates = [0.001, 0.01, 0.1]
    weak, middle, strong = (strength(rate, rates) for rate in rates)
    assert weak < strong
    assert middle == pytest.approx((weak + strong) / 2)


def test_a_timeline_writes_rates_and_hatches_what_is_frozen():
    plan = _plan((None, 0.1), (0.01, 0.1))
    picture = draw_timeline(plan, records_of(plan, probe=None), 680)
    assert _classes(picture, "rect").count("frozen") == 1
    assert {"frozen", "0.1", "0.01"} <= set(_texts(picture))
    assert "Phase 1, phase 0, epochs 1 to 2: trains g1 at 0.1; 1 groups frozen." in picture.get("aria-label")


def test_a_fitted_head_has_no_rate_and_no_schedule():
    plan = _plan((None, 1.0), solver="lbfgs")
    texts = _texts(draw_timeline(plan, records_of(plan, probe=None), 680))
    assert "lbfgs" in texts
    assert "schedule" not in texts


def test_a_large_confusion_matrix_has_a_cell_for_every_pair_with_images():
    picture = draw_confusion([[3, 0, 1], [0, 4, 0], [0, 0, 0]], 300)
    assert sorted(_classes(picture, "rect")) == ["frame", "hit", "hit", "miss"]
    assert "7 of 8 images" in picture.get("aria-label")
