"""The plan and the epochs of runs, as parts of pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from ftcli.phrases import count, duration
from ftcli.records import ProbeRecord
from ftcli.report.charts.curves import Curve, CurveChart, draw_curves, spans_of
from ftcli.report.charts.diagrams import draw_trials
from ftcli.report.charts.timeline import draw_timeline
from ftcli.report.format import rate_text, share
from ftcli.report.html.page import HALF, WHOLE, Chart, Columns, chart
from ftcli.report.sections import Cell, Prose, Section, Table, numbers, share_cell, texts
from ftcli.runs.read_run import RecordedRun


def plan_parts(run: RecordedRun) -> tuple[Any, ...]:
    """Return the timeline of a run's plan, and its phases."""
    caption = (
        "Groups of the network, the head on top, over the epochs that ran. A number is a learning rate at the start "
        "of the phase's schedule, and a stronger colour a greater one."
    )
    timeline = Chart(_timeline(run), caption=caption, legend=True)
    return timeline, Section("Phases", (_phases(run),))


def paired_plan_parts(runs: Sequence[tuple[str, RecordedRun]]) -> tuple[Any, ...]:
    """Return the timelines of runs, each under its title."""
    what = "Groups of the network, the head on top, over the epochs that ran: learning rates, and hatched where frozen."
    return Prose(what, tone="soft"), *(Section(title, (Chart(_timeline(run)),)) for title, run in runs)


def _timeline(run: RecordedRun) -> Markup:
    return chart(lambda width: draw_timeline(run.plan, run.records, width), WHOLE)


def _phases(run: RecordedRun) -> Table:
    rows = []
    for span in spans_of(run.records):
        phase = run.plan.phases[span.number - 1]
        records = [record for record in run.records if record.phase_index == span.number - 1]
        planned = f" of {phase.epochs}" if len(records) < phase.epochs else ""
        cached = any(record.cached for record in records)
        rows.append(
            (
                f"{span.number} · {span.name}",
                f"{len(records)}{planned}",
                ", ".join(f"{group} {rate_text(phase.lr[group], phase)}" for group in reversed(phase.trainable)),
                f"{sum(run.parameters[group] for group in phase.trainable):,}",
                "computed once" if cached else "in every epoch" if phase.frozen else "none",
                duration(sum(record.seconds + record.features_seconds for record in records)),
            )
        )
    trained = (*texts("trained groups and their rates"), *numbers("parameters"))
    columns = (*texts("phase"), *numbers("epochs"), *trained, *texts("frozen part"), *numbers("time"))
    return Table(columns, rows, "What each phase trained")


def training_parts(run: RecordedRun) -> tuple[Any, ...]:
    """Return the curves of a run, or how its head was fitted, and every epoch."""
    every = Section("Every epoch in figures", (_epochs(run),), folded=True)
    if (probe := run.records[-1].probe) is not None:
        return *_fitted(run, probe), every
    when = "Train figures are taken while the weights change, on augmented images; val figures after each epoch."
    return _side_by_side(epoch_charts(run)), Prose(when, tone="hint"), every


def paired_training_parts(runs: Sequence[tuple[str, RecordedRun]]) -> tuple[Any, ...]:
    """Return the validation curves of two runs, each under its letter."""

    def curves(what: str) -> CurveChart:
        drawn = [
            Curve(letter, kind, tuple(record.val[what] for record in run.records), run.best_epoch)
            for (letter, run), kind in zip(runs, ("a", "b"), strict=True)
        ]
        return CurveChart(f"Validation {what}", tuple(drawn), shares=what == "accuracy")

    key = "A is the solid line, B the dashed one; a ring marks the best epoch."
    return _side_by_side((curves("loss"), curves("accuracy"))), Prose(key, tone="hint")


def epoch_charts(run: RecordedRun) -> tuple[CurveChart, CurveChart]:
    """Return the charts of loss and accuracy over the epochs, train and validation."""

    def curves(train: Sequence[float], val: str) -> tuple[Curve, Curve]:
        values = tuple(record.val[val] for record in run.records)
        return Curve("train", "b", tuple(train)), Curve("val", "a", values, run.best_epoch)

    loss = curves([record.comparable_train_loss for record in run.records], "loss")
    accuracy = curves([record.train_accuracy for record in run.records], "accuracy")
    spans = spans_of(run.records)
    return CurveChart("Loss", loss, spans), CurveChart("Accuracy", accuracy, spans, shares=True)


def _side_by_side(charts: tuple[CurveChart, CurveChart]) -> Columns:
    loss, accuracy = charts
    left = Chart(chart(lambda width: draw_curves(loss, width), HALF), loss.title, "cross-entropy in nats")
    right = Chart(chart(lambda width: draw_curves(accuracy, width), HALF), accuracy.title, "share of images")
    return Columns(((left,), (right,)))


def _fitted(run: RecordedRun, probe: ProbeRecord) -> tuple[Any, ...]:
    record = run.records[-1]
    how = (
        "The head was fitted to convergence by L-BFGS, so there are no epochs to plot. The L2 strength is the one with "
        f"the least log loss in cross-validation over {probe.folds} folds of train."
    )
    trials = chart(lambda width: draw_trials(probe, width), HALF)
    rows = [
        ("train, all views", f"{record.train_loss:.4f}", share(record.train_accuracy)),
        ("validation", f"{record.val['loss']:.4f}", share(record.val["accuracy"])),
    ]
    table = Table((*texts("images"), *numbers("loss", "accuracy")), rows, "The fitted head", narrow=True)
    end = f"{count(probe.iterations, 'iteration')}; largest remaining partial derivative: {probe.slope:.1e}."
    left = Chart(trials, "Log loss on held-out train images", "by L2 strength")
    return Prose(how), Columns(((left,), (table, Prose(end, tone="soft"))))


def _epochs(run: RecordedRun) -> Table:
    rows = [
        (
            Cell(f"{record.epoch} (best)" if record.epoch == run.best_epoch else str(record.epoch), record.epoch),
            record.phase,
            Cell(f"{record.comparable_train_loss:.4f}", record.comparable_train_loss),
            share_cell(record.train_accuracy),
            Cell(f"{record.val['loss']:.4f}", record.val["loss"]),
            share_cell(record.val["accuracy"]),
            share_cell(record.val["macro_f1"]),
            Cell(duration(record.seconds), record.seconds),
        )
        for record in run.records
    ]
    columns = (
        *numbers("epoch", sort="up"),
        *texts("phase", sort="up", kind="name"),
        *numbers("train loss", sort="up"),
        *numbers("train accuracy", sort="down"),
        *numbers("val loss", sort="up"),
        *numbers("val accuracy", "val macro F1", sort="down"),
        *numbers("time", sort="up"),
    )
    return Table(columns, rows, "Every epoch", best=run.best_epoch - 1, tall=True)
