"""Owns the page of one run: what stands in each section.

Owns what the page of a run says of its data: what the checks of `train` found, and which images were left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from ftcli.data.checks.findings import Case, finding_notices, skipped_notices, with_level
from ftcli.evaluation.compare.result import change_text
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.ranking import ROC_AUC
from ftcli.metrics import METRICS
from ftcli.records import Interval
from ftcli.report.charts.curves import Curve, CurveChart, draw_curves, spans_of
from ftcli.report.charts.diagrams import draw_bar, draw_confusion, draw_reliability, draw_trials, draw_whisker
from ftcli.report.charts.svg import markup, ticks
from ftcli.report.charts.thumbnails import Thumbnail, thumbnails
from ftcli.report.charts.timeline import draw_timeline, rate_text
from ftcli.report.format import absent_text, count
from ftcli.report.html.page import HALF, WHOLE, chart, lines, render
from ftcli.report.text.check import case_text
from ftcli.report.text.compare import gate_text
from ftcli.runs.read_run import RecordedRun

MISTAKES = 12
"""As many of the most confident mistakes are shown."""

MATRIX_CLASSES = 30
"""With more classes, the confusion matrix is a picture of its cells, and a table of its pairs."""

_DRAWN_CLASSES = 250
_PAIRS = 100


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: the image, what it is, what it was taken for, and how probable each was."""

    path: str
    label: str
    predicted: str
    probability: float
    of_label: float
    thumbnail: Thumbnail


def run_page(run: RecordedRun, evaluation: Evaluation, *, alerts: Sequence[str] = ()) -> str:
    """Return the page of a run; `alerts` are what else to know before any figure."""
    mistakes = _mistakes(run)
    context: dict[str, Any] = {
        "title": run.name,
        "run": run,
        "alerts": [*alerts, *_alerts(run)],
        "evaluation": evaluation,
        "figures": _figures(evaluation),
        "notices_left": other_notices(run),
        "data": data_section(run),
        "timeline": chart(lambda width: draw_timeline(run.plan, run.records, width), WHOLE),
        "phases": _phases(run),
        "training": _training(run),
        "classes": _classes(run, evaluation),
        "absent": absent_text(evaluation),
        "ranked": ROC_AUC in evaluation.metrics,
        "matrix": _matrix(evaluation),
        "beside": len(evaluation.classes) <= 10 and max(map(len, evaluation.classes)) <= 16,
        "reliability": chart(lambda width: draw_reliability(evaluation.calibration, width), {"s": 328, "m l": 420}),
        "mistakes": mistakes,
        "wrong": int((~run.predictions.correct).sum()),
        "images_missing": bool(mistakes) and all(mistake.thumbnail.missing for mistake in mistakes),
        "recipe": lines(run.recipe_text),
        "raised": _raised(run),
        "environment": environment_rows(run),
    }
    return render("run.html", context)


def epoch_charts(run: RecordedRun) -> tuple[CurveChart, CurveChart]:
    """Return the charts of loss and accuracy over the epochs, train and validation."""
    records, best = run.records, run.best_epoch
    spans = spans_of(records)
    train_loss, train_accuracy = (
        tuple(record.train_loss for record in records),
        tuple(record.train_accuracy for record in records),
    )
    loss = (Curve("train", "b", train_loss), Curve("val", "a", tuple(record.val["loss"] for record in records), best))
    accuracy = (
        Curve("train", "b", train_accuracy),
        Curve("val", "a", tuple(record.val["accuracy"] for record in records), best),
    )
    return CurveChart("Loss", loss, spans), CurveChart("Accuracy", accuracy, spans, shares=True)


def environment_rows(run: RecordedRun) -> list[tuple[str, str]]:
    """Return what the run says of its machine and its data, by name."""
    said, data = run.environment, run.dataset
    versions = ", ".join(f"{name} {version}" for name, version in said.get("versions", {}).items() if version)
    splits = data.get("splits", {})
    images = ", ".join(f"{split}: {count(each['images'], 'image')}" for split, each in splits.items())
    rows = {
        "Images": f"{data['root']} ({images})",
        "Content": ", ".join(f"{split} {each['sha256'][:16]}" for split, each in splits.items()),
        "Started": said.get("started"),
        "Command": shlex.join(said.get("argv", [])),
        "Directory": said.get("directory"),
        "Git commit": said.get("git_commit"),
        "Device": f"{said['device']}, {said['precision']}",
        "CPU cores": said.get("cpus"),
        "Platform": said.get("platform"),
        "Python": said.get("python"),
        "Versions": versions,
    }
    return [(name, str(value)) for name, value in rows.items() if value]


def _raised(run: RecordedRun) -> list[str]:
    """Return what of the recipe was raised once epochs had been trained with it as it was, and when."""
    return [
        f"{change_text(key, change)} after epoch {after}"
        for each in run.environment.get("resumed", [])
        if (after := each.get("after_epoch"))
        for key, change in each.get("changes", {}).items()
    ]


def _alerts(run: RecordedRun) -> list[str]:
    """Return what to know before any figure: that the run is not as it should be."""
    if run.summary is None:
        return [_unfinished(run), *data_alerts(run)]
    return [*(gate_text(gate) for gate in run.summary.gates if not gate.holds), *data_alerts(run)]


def _unfinished(run: RecordedRun) -> str:
    """Return how far a run got that has not finished, and how it goes on."""
    done, planned, resume = len(run.records), run.plan.epochs, f"ftcli train --resume {shlex.quote(str(run.path))}"
    if done < planned:
        return f"This run has not finished: {done} of {count(planned, 'epoch')} are there. Go on with it: {resume}"
    every = "its only epoch is" if planned == 1 else f"all {planned} epochs are"
    return f"This run has not finished: {every} there, but how it ended was not written. Finish it: {resume}"


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """Return the metrics with a whisker for each share, on an axis that they have in common."""
    drawn = {name: each for name, each in evaluation.metrics.items() if METRICS[name].drawn_with_accuracy}
    marks = ticks(min(each.low for each in drawn.values()), 1.0, 5)
    low = max(marks[0], min(METRICS[name].bounds[0] for name in drawn))
    rows = [
        (name, each, markup(draw_whisker(each, low, 1.0)) if name in drawn else "")
        for name, each in evaluation.metrics.items()
    ]
    return {"rows": rows, "low": low}


def _phases(run: RecordedRun) -> list[dict[str, Any]]:
    rows = []
    for span in spans_of(run.records):
        phase = run.plan.phases[span.number - 1]
        records = [record for record in run.records if record.phase_index == span.number - 1]
        rows.append(
            {
                "span": span,
                "phase": phase,
                "epochs": len(records),
                "rates": [(group, rate_text(phase.lr[group], phase)) for group in reversed(phase.trainable)],
                "parameters": sum(run.parameters[group] for group in phase.trainable),
                "seconds": sum(record.seconds for record in records),
                "cached": any(record.cached for record in records),
            }
        )
    return rows


def _training(run: RecordedRun) -> dict[str, Any]:
    probe = run.records[-1].probe
    if probe is not None:
        return {
            "probe": probe,
            "record": run.records[-1],
            "trials": chart(lambda width: draw_trials(probe, width), HALF),
        }
    loss, accuracy = epoch_charts(run)
    return {
        "probe": None,
        "loss": chart(lambda width: draw_curves(loss, width), HALF),
        "accuracy": chart(lambda width: draw_curves(accuracy, width), HALF),
    }


def _classes(run: RecordedRun, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the classes, those with the lowest recall first and those without images last."""
    train = run.dataset.get("splits", {}).get("train", {}).get("per_class", {})
    rows = sorted(evaluation.per_class, key=lambda each: (each.recall is None, each.recall.value if each.recall else 0))
    return [
        {"class": each, "train": train.get(each.name), "bar": _bar(each.recall), "interval": _interval(each.recall)}
        for each in rows
    ]


def _bar(interval: Interval | None) -> Markup | str:
    return "" if interval is None else markup(draw_bar(interval))


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{100 * interval.low:.0f} to {100 * interval.high:.0f}"


def _matrix(evaluation: Evaluation) -> dict[str, Any]:
    """Return the matrix's rows while it is small, else its picture; and the pairs that were confused most."""
    classes = len(evaluation.classes)
    pairs = evaluation.most_confused
    value: dict[str, Any] = {"rows": [], "picture": "", "pairs": pairs[:_PAIRS], "more": len(pairs[_PAIRS:])}
    if classes <= MATRIX_CLASSES:
        value["rows"] = [_matrix_row(index, counts) for index, counts in enumerate(evaluation.confusion)]
    elif classes <= _DRAWN_CLASSES:
        value["picture"] = chart(lambda width: draw_confusion(evaluation.confusion, width), {"always": 640})
    return value


def _matrix_row(true: int, counts: Sequence[int]) -> list[tuple[int, str]]:
    """Return each count with the class of its cell: right or wrong, and how much of the row it is, in tenths."""
    images = max(sum(counts), 1)
    return [
        (number, f"{'hit' if true == predicted else 'miss'} heat-{-(-10 * number // images)}" if number else "none")
        for predicted, number in enumerate(counts)
    ]


def _mistakes(run: RecordedRun) -> list[Mistake]:
    predictions = run.predictions
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(~predictions.correct)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist()
    images = [(predictions.paths[row], predictions.sha256[row]) for row in rows]
    pictures = thumbnails(run.image_root, images)
    predicted = predictions.predicted
    return [
        Mistake(
            path=predictions.paths[row],
            label=predictions.classes[predictions.labels[row]],
            predicted=predictions.classes[predicted[row]],
            probability=float(confidence[row]),
            of_label=float(predictions.probabilities[row, predictions.labels[row]]),
            thumbnail=picture,
        )
        for row, picture in zip(rows, pictures, strict=True)
    ]


CASES = 5
"""As many cases of a finding, and images that were left out, are shown."""


def data_section(run: RecordedRun) -> dict[str, Any]:
    """Return the findings, the gravest first, the images that were left out and the strays, the first few of each."""
    strays = [Case((str(path),)) for path in run.dataset.get("strays", [])]
    return {
        "findings": [{"finding": finding, **_first(finding.cases, sign=finding.sign)} for finding in run.findings],
        "skipped": {"images": len(run.skipped), **_first([Case((each.path,), each.reason) for each in run.skipped])},
        "strays": {"files": len(strays), **_first(strays)},
    }


def data_alerts(run: RecordedRun) -> list[str]:
    """Return the findings that no figure can be trusted beside."""
    return [finding.message for finding in with_level(run.findings, "error")]


def other_notices(run: RecordedRun) -> list[str]:
    """Return the notices of a finished run that the section on its data does not tell in full."""
    told = {*finding_notices(run.findings), *skipped_notices(run.skipped)}
    return [] if run.summary is None else [notice for notice in run.summary.notices if notice not in told]


def _first(cases: Sequence[Case], *, sign: str = "=") -> dict[str, Any]:
    return {"cases": [case_text(case, sign=sign) for case in cases[:CASES]], "more": len(cases[CASES:])}
