import math
from pathlib import Path

import pytest

from ftcli.metrics import COMPARABLE, EXPECTABLE, METRICS, MONITORS, Metric, split_and_metric


def test_the_table_has_each_name_once_and_knows_every_name_that_rows_refer_to() -> None:
    assert all(name == row.name for name, row in METRICS.items())
    assert len({row.words for row in METRICS.values()}) == len(METRICS)
    assert {row.no_narrower_than for row in METRICS.values()} - {None} <= set(COMPARABLE)
    # An interval in closed form is the least that a bootstrap is held against.
    assert all(METRICS[row.no_narrower_than].share_of for row in METRICS.values() if row.no_narrower_than)


def test_runs_are_compared_by_what_sums_give_and_monitored_by_what_epochs_record() -> None:
    assert COMPARABLE == ("accuracy", "top5_accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")
    assert set(EXPECTABLE) - set(COMPARABLE) == {"worst_class_recall"}
    assert list(MONITORS) == ["val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_loss"]


def test_the_page_on_statistics_explains_every_metric_that_has_an_interval() -> None:
    page = (Path(__file__).parents[1] / "docs/statistics.md").read_text()
    named = {name for name, row in METRICS.items() if row.words in page}
    assert set(METRICS) - named == {"worst_class_recall"}


@pytest.mark.parametrize(
    ("low", "high", "bounds", "span", "words"),
    [
        (0.0, 1.0, (0.0, 1.0), 1.0, "from 0 to 1"),
        (-1.0, 1.0, (-1.0, 1.0), 2.0, "from -1 to 1"),
        (0.0, None, (0.0, math.inf), math.inf, "from 0 upwards"),
        (None, 1.0, (-math.inf, 1.0), math.inf, "up to 1"),
    ],
)
def test_a_range_may_begin_below_zero_or_have_no_end(low, high, bounds, span, words) -> None:
    metric = Metric("m", "m", low=low, high=high)
    assert (metric.bounds, metric.span, metric.range_words) == (bounds, span, words)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("val_top5_accuracy", ("val", "top5_accuracy")), ("macro_f1", (None, "macro_f1")), ("test_ece", ("test", "ece"))],
)
def test_an_expectation_names_a_metric_and_perhaps_a_split(name, parts) -> None:
    assert split_and_metric(name) == parts
