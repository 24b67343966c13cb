import pytest
from helpers.recorded_runs import records_of

from ftcli.plan import Phase, Plan
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


def test_groups_that_train_alike_share_a_row_with_the_head_on_top():
    rows = rows_of(_plan((None, None, 0.1, 0.1), (None, None, 0.1, 0.1)))
    assert [(row.name, len(row.groups)) for row in rows] == [("g2 … g3", 2), ("g0 … g1", 2)]


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
    assert "Phase 1, phase 0, epochs 1 to 2: trains g1 at 0.1; 1 group frozen." in picture.get("aria-label")


def test_a_fitted_head_has_no_rate_and_no_schedule():
    plan = _plan((None, 1.0), solver="lbfgs")
    texts = _texts(draw_timeline(plan, records_of(plan, probe=None), 680))
    assert "lbfgs" in texts
    assert "schedule" not in texts
