import dataclasses

import pytest
from helpers.support import predictions_with

from ftcli.evaluation.evaluate import evaluate
from ftcli.plan import Phase, Plan
from ftcli.records import EpochRecord, RunSummary
from ftcli.report.plain import as_text
from ftcli.report.sections import Section
from ftcli.report.streams import BLOCKS
from ftcli.report.text.train import epoch_parts, run_sections, shown_epochs, sparkline


def epochs_text(records, best_epoch, *, marks="", width=80):
    return as_text([Section("", epoch_parts(records, best_epoch, marks=marks))], width=width)


def _records(epochs, *, phases=1, name="head"):
    return [
        EpochRecord(
            phase=f"{name}{index * phases // epochs}",
            phase_index=index * phases // epochs,
            epoch=index + 1,
            lr={"head": 0.01},
            train_loss=2 / (index + 1),
            train_accuracy=0.5,
            val={"accuracy": index / epochs, "loss": 1.5, "macro_f1": 0.5},
            seconds=1.25,
        )
        for index in range(epochs)
    ]


def test_every_epoch_of_a_short_run_is_a_row_and_the_best_is_starred():
    lines = epochs_text(_records(3), 2).splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["head0", "1"], ["head0", "*"], ["head0", "3"]]
    assert lines[-1].split() == ["head0", "3", "0.6667", "1.5000", "66.7", "%", "1.2"]


def test_a_long_run_shows_a_dozen_epochs_with_first_last_best_and_the_start_of_each_phase():
    records = _records(300, phases=3)
    shown = shown_epochs(records, 212)
    assert len(shown) == 12
    assert {0, 100, 200, 211, 299} <= set(shown)
    *rows, _, said = epochs_text(records, 212).splitlines()
    assert len(rows) == 2 + 12
    assert said.strip() == "12 of 300 epochs; metrics.jsonl has them all"


def test_more_phases_than_rows_still_leave_the_best_and_the_last_epoch():
    assert {49, 17} <= set(shown_epochs(_records(50, phases=50), 18))


def test_no_epoch_of_a_run_of_forty_is_left_out():
    text = epochs_text(_records(40), 18)
    assert len(text.splitlines()) == 2 + 40
    assert "metrics.jsonl" not in text


def test_a_loss_that_has_exploded_is_a_power_of_ten():
    (record,) = _records(1)
    text = epochs_text([dataclasses.replace(record, train_loss=569557785455170813952.0)], 1)
    assert text.splitlines()[-1].split() == ["head0", "*", "1", "5.6956e+20", "1.5000", "0.0", "%", "1.2"]


@pytest.mark.parametrize("epochs", [2, 40, 300])
def test_the_table_fits_80_columns_whatever_phases_are_called(epochs):
    text = epochs_text(_records(epochs, phases=2, name="unfreeze-" * 15), 2, marks=BLOCKS)
    assert max(map(len, text.splitlines())) <= 80


def test_a_sparkline_has_the_shape_of_the_curve():
    assert sparkline([0, 1, 2, 7], BLOCKS) == "▁▂▃█"
    assert sparkline([3, 3], BLOCKS) == "▁▁"
    assert sparkline(list(range(1200)), BLOCKS)[:: len(BLOCKS) + 3] == "▁█"


def test_the_trend_is_the_last_row_and_covers_every_epoch():
    last = epochs_text(_records(8), 8, marks=BLOCKS).splitlines()[-1]
    assert last.split() == ["all", "█▄▃▂▂▁▁▁", "▁▁▁▁▁▁▁▁", "▁▂▃▄▅▆▇█"]


def test_plain_text_has_ascii_marks_only():
    text = epochs_text(_records(8), 8)
    assert "all" not in text
    assert not set(text) & set(BLOCKS)


def test_a_run_that_was_scored_without_a_class_says_so():
    evaluation = evaluate(predictions_with([], images=2, classes=("ants", "bees", "wasps")), resamples=10)
    plan = Plan("gradual", ("head",), (Phase("head", 1, {"head": 0.1}, None),))
    summary = RunSummary(1, 1, "val_accuracy", {}, 2, 1.0, 1.0)
    text = as_text(run_sections(summary, evaluation, plan, []))
    assert "No scored image is of wasps: balanced accuracy and macro F1" in text


@pytest.mark.parametrize(
    ("monitor", "title"), [("val_macro_f1", "val macro F1"), ("val_loss", ""), ("val_accuracy", "")]
)
def test_a_monitor_that_is_neither_accuracy_nor_loss_has_a_column(monitor, title):
    table = epoch_parts(_records(5), 5, marks="ab", monitor=monitor)[0]
    titles = [column.title for column in table.columns]
    assert titles == [
        "phase",
        "epoch",
        "train loss",
        "val loss",
        "val accuracy",
        *([title] if title else []),
        "seconds",
    ]
    assert {len(row) for row in table.rows} == {len(titles)}
    assert not title or table.rows[0][5] == "50.0 %"
