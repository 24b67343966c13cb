"""The page of one run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from ftcli.data.checks.findings import Case, with_level
from ftcli.evaluation.compare.result import change_text
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.ranking import ROC_AUC
from ftcli.metrics import METRICS
from ftcli.phrases import count, duration, resume_hint
from ftcli.report.charts.diagrams import draw_bar, draw_confusion, draw_reliability, draw_whisker
from ftcli.report.charts.svg import markup, ticks
from ftcli.report.format import (
    VAL_CHOSE_THE_EPOCH,
    absent_text,
    case_text,
    figure,
    gate_text,
    interval_text,
    metric_name,
    never_predicted_text,
    ranking_text,
    share,
    unchecked_text,
    uneven_text,
)
from ftcli.report.html.epochs import plan_parts, training_parts
from ftcli.report.html.page import Chart, Columns, Gallery, Picture, chart, render, thumbnails
from ftcli.report.sections import (
    MATRIX_CLASSES,
    Bullets,
    Cell,
    Facts,
    Findings,
    Gates,
    Lines,
    Prose,
    Section,
    Table,
    numbers,
    prose,
    share_cell,
    texts,
)
from ftcli.report.text.eval import matrix_of, metrics_table
from ftcli.runs.read_run import RecordedRun

MISTAKES = 12
"""The number of most confident mistakes that are shown."""

_DRAWN_CLASSES = 250  # with more classes, cells are smaller than three pixels
_BESIDE_CLASSES, _BESIDE_NAME = 6, 12  # a larger matrix does not fit half the page
_CASES = 5
_PAIRS = 100
_DATASET_FILE = "dataset.json"


def run_page(run: RecordedRun, evaluation: Evaluation, *, alerts: Sequence[str] = ()) -> str:
    """Return the page of a run; `alerts` are shown above all figures."""
    classes = count(len(evaluation.classes), "class", "classes")
    lede = f"{run.recipe['model']['name']}, strategy {run.plan.strategy}, {classes}"
    few = len(evaluation.classes) <= _BESIDE_CLASSES and max(map(len, evaluation.classes)) <= _BESIDE_NAME
    sections = [
        Section("Figures", _figures(run, evaluation), "figures"),
        Section("Data", _data(run), "data"),
        Section("Plan", plan_parts(run), "plan"),
        Section("Training", training_parts(run), "training"),
        Section("Classes", _classes(run, evaluation), "classes"),
        Section("Confusion", _confusion(evaluation), "confusion", halves=few),
        Section("Calibration", _calibration(evaluation, halves=not few), "calibration", halves=few),
        Section("Mistakes", _mistakes(run), "mistakes"),
        Section("Recipe", (_provenance(run), Lines(tuple(run.recipe_text.splitlines()))), "recipe", halves=True),
        Section("Environment", (_environment(run),), "environment", halves=True),
    ]
    never = [text] if (text := never_predicted_text(evaluation)) else []
    return render(run.name, lede, sections, kicker="ftcli report", alerts=[*alerts, *_alerts(run), *never])


def _alerts(run: RecordedRun) -> list[str]:
    """Return why the figures of a run may not be trusted."""
    grave = [finding.message for finding in with_level(run.findings, "error")]
    if run.summary is not None:
        return [*(gate_text(gate) for gate in run.summary.gates if not gate.holds), *grave]
    done, planned = len(run.records), run.plan.epochs
    but = "" if done < planned else ", but no summary"
    has = f"This run has not finished: it has {done} of {count(planned, 'epoch')}{but}."
    return [f"{has} {resume_hint(run.path)}", *grave]


# Figures.


def _figures(run: RecordedRun, evaluation: Evaluation) -> tuple[Any, ...]:
    summary = run.summary
    chosen = VAL_CHOSE_THE_EPOCH if len(run.records) > 1 else ""
    parts: list[Any] = [_headline(run, evaluation), _metrics(evaluation)]
    parts += prose(uneven_text(evaluation), ranking_text(evaluation), chosen, tone="hint")
    if summary is not None:
        gates = (Gates(summary.gates),) if summary.gates else ()
        parts.append(Section("Expected", (*gates, *prose(unchecked_text(summary.unchecked), tone="hint"))))
        found = [finding.message for finding in run.findings]  # the section on data has these in full
        in_full = [*found, *(f"{each.path}: {each.reason}" for each in run.skipped)]
        notices = tuple(notice for notice in summary.notices if not any(each in notice for each in in_full))
        parts.append(Section("Notices", (Bullets(notices),) if notices else ()))
    return tuple(parts)


def _headline(run: RecordedRun, evaluation: Evaluation) -> Facts:
    epochs = len(run.records)
    planned = f", {run.plan.epochs} planned" if epochs < run.plan.epochs else ""
    # Of uneven classes, accuracy alone would praise a model that knows only the most common one.
    shown = ("accuracy",) if evaluation.uneven_share is None else ("balanced_accuracy", "accuracy")
    rows = [
        (metric_name(name).capitalize(), share(each.value), f"95 % interval {interval_text(name, each)}")
        for name, each in ((name, evaluation.metrics[name]) for name in shown)
    ]
    rows += [
        ("Images", str(evaluation.images), f"validation, {(~run.predictions.correct).sum()} wrong"),
        ("Best epoch", str(run.best_epoch), f"of {epochs}{planned}"),
    ]
    if run.summary is not None:
        speed = f"{run.summary.images_per_second:.0f} images/s in training"
        rows.append(("Time", duration(run.summary.seconds), speed))
    return Facts(tuple(rows), headline=True)


def _metrics(evaluation: Evaluation) -> Table:
    """Return the metrics with a whisker for each share, on one axis."""
    drawn = {name: each for name, each in evaluation.metrics.items() if METRICS[name].drawn_with_accuracy}
    start = ticks(min(each.low for each in drawn.values()), 1.0, 5)[0]
    low = max(start, min(METRICS[name].bounds[0] for name in drawn))
    whiskers = {name: markup(draw_whisker(each, low, 1.0)) for name, each in drawn.items()}
    cells, column = [[whiskers.get(name, "")] for name in evaluation.metrics], f"{100 * low:.0f} to 100 %"
    return metrics_table(evaluation.metrics).with_columns(3, texts(column, css="roomy soft"), cells)


# Data.


def _data(run: RecordedRun) -> tuple[Any, ...]:
    """Return the findings, the most severe first, and the images and files that were left out."""
    further = "`ftcli check --features` looks further, for look-alikes and wrong labels."
    strays = [str(path) for path in run.dataset.get("strays", [])]
    parts: list[Any] = []
    if run.findings:
        found = "What `ftcli train` found in the names and contents of the images, the most severe first."
        parts.append(Prose(f"{found} {further}", tone="soft", code=True))
        parts.append(Findings(run.findings, _CASES, _DATASET_FILE))
    else:
        nothing = "" if run.skipped or strays else "Nothing wrong was found in the names and contents of the images. "
        parts.append(Prose(nothing + further, code=True))
    if run.skipped:
        are = count(len(run.skipped), "unusable image is", "unusable images are")
        images = [case_text(Case((each.path,), each.reason)) for each in run.skipped]
        parts.append(Section("Skipped", (Prose(f"{are} skipped (`data.on_bad_image`).", code=True), _listed(images))))
    if strays:
        one, several = "file or folder is of no class and was", "files or folders are of no class and were"
        skipped = Prose(f"{count(len(strays), one, several)} skipped.")
        parts.append(Section("Of no class", (skipped, _listed(strays))))
    return tuple(parts)


def _listed(items: Sequence[str]) -> Bullets:
    return Bullets(tuple(items), _CASES, _DATASET_FILE, path=True)


# Predictions.


def _classes(run: RecordedRun, evaluation: Evaluation) -> tuple[Any, ...]:
    """Return the classes, those with the lowest recall first and those without images last."""
    what = (
        "Recall is the share of a class's images that were found, with its 95 % interval; precision is the share of "
        "the predictions of a class that are right. The weakest class comes first."
    )
    train = run.dataset.get("splits", {}).get("train", {}).get("per_class", {})
    weakest = sorted(evaluation.per_class, key=lambda each: (each.recall is None, each.recall and each.recall.value))
    rows = [
        (
            each.name,
            Cell(str(train.get(each.name, "-")), train.get(each.name)),
            str(each.images),
            share_cell(None if each.recall is None else each.recall.value),
            "" if each.recall is None else f"{100 * each.recall.low:.0f} to {100 * each.recall.high:.0f}",
            "" if each.recall is None else markup(draw_bar(each.recall)),
            share_cell(None if each.precision is None else each.precision.value),
            share_cell(each.f1),
        )
        for each in weakest
    ]
    columns = (
        *texts("class", sort="up", kind="name"),
        *numbers("train", sort="down", css="roomy"),
        *numbers("val", sort="down"),
        *numbers("recall", sort="up", by="ascending"),
        *numbers("95 % interval", css="roomy"),
        *texts("0 to 100 %", css="bar roomy soft"),
        *numbers("precision", "F1", sort="up"),
    )
    table = Table(columns, rows, "Recall, precision and F1 of each class", tall=True)
    if ROC_AUC in evaluation.metrics:
        shown = ("-" if each.roc_auc is None else figure(ROC_AUC, each.roc_auc) for each in weakest)
        ranked = [[Cell(text, each.roc_auc)] for text, each in zip(shown, weakest, strict=True)]
        table = table.with_columns(8, numbers("ROC-AUC", sort="up", css="roomiest"), ranked)
    return *prose(what, absent_text(evaluation), tone="soft"), table


def _confusion(evaluation: Evaluation) -> tuple[Any, ...]:
    """Return the matrix, as a picture where there are many classes, and the pairs that were confused most."""
    classes, left = len(evaluation.classes), len(evaluation.most_confused) - _PAIRS
    cut = f"Of the confused pairs, the {_PAIRS} with the most images are listed; {left} more are not."
    listed = (*prose(cut if left > 0 else ""), matrix_of(evaluation, pairs=_PAIRS))
    if classes <= MATRIX_CLASSES:
        what = "Images by true class (rows) and predicted class (columns). The diagonal is right; a stronger colour is "
        return Prose(f"{what}a greater share of the row.", tone="soft"), *listed
    if classes > _DRAWN_CLASSES:
        return listed
    caption = (
        "A cell for every pair of classes with images: rows are true classes from the top, columns predicted ones from "
        "the left, in the order of the classes' names. Blue on the diagonal is right, orange is wrong, and a stronger "
        "colour a greater share of the row."
    )
    picture = chart(lambda width: draw_confusion(evaluation.confusion.tolist(), width), {"always": 640})
    return Chart(picture, caption=caption, css="square"), *listed


def _calibration(evaluation: Evaluation, *, halves: bool) -> tuple[Any, ...]:
    ece = evaluation.metrics["ece"]
    chance = ", which chance alone could show in a perfectly calibrated model" if ece.low == 0 else ""
    what = (
        "Accuracy of the images in each bin of confidence with 95 % intervals, and the number of images. On the dashed "
        "line, a model is right as often as it is confident. The expected calibration error is "
        f"{figure('ece', ece.value)} ({interval_text('ece', ece)}){chance}."
    )
    drawn = chart(lambda width: draw_reliability(evaluation.calibration, width), {"s": 328, "m l": 420})
    parts = Prose(what, tone="soft"), Chart(drawn, css="small")
    return (Columns(tuple((part,) for part in parts), halves=True),) if halves else parts


def _mistakes(run: RecordedRun) -> tuple[Any, ...]:
    """Return the most confident mistakes with their pictures, or in a table where no picture is left."""
    predictions = run.predictions
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(~predictions.correct)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist()
    if not rows:
        return (Prose("Every validation image was classified correctly."),)
    pictures, listed = [], []
    files = thumbnails(run.image_root, [(predictions.paths[row], predictions.sha256[row]) for row in rows])
    for row, thumbnail in zip(rows, files, strict=True):
        path, label = predictions.paths[row], predictions.classes[predictions.labels[row]]
        predicted = predictions.classes[predictions.predicted[row]]
        of_label = share(float(predictions.probabilities[row, predictions.labels[row]]))
        chances = ("taken for", predicted, "", share(float(confidence[row]))), ("is", label, "", of_label)
        listed.append((path, label, predicted, share(float(confidence[row]))))
        pictures.append(Picture(thumbnail, path, f"{path}: {label}, taken for {predicted}", "", chances))
    most = f"The {len(rows)} most confident of {count(len(wrong), 'mistake')}; `predictions/val.csv` has them all."
    all_of_them = "The only mistake." if len(wrong) == 1 else f"All {len(wrong)} mistakes, the most confident first."
    which = Prose(most if len(wrong) > len(rows) else all_of_them, code=True)
    if not all(picture.thumbnail.missing for picture in pictures):
        return which, Gallery(tuple(pictures))
    missing = f"The images are not shown: {run.image_root} no longer holds them as they were scored."
    columns = (*texts("image", kind="path"), *texts("true class", "predicted", kind="name"), *numbers("probability"))
    return which, Prose(missing), Table(columns, listed, "The most confident mistakes")


# Provenance.


def _provenance(run: RecordedRun) -> Prose:
    """Return whether the recipe trains the same run again: not where it was raised after some epochs."""
    raised = [
        f"{change_text(key, change)} after epoch {after}"
        for each in run.environment.get("resumed", [])
        if (after := each.get("after_epoch"))
        for key, change in each.get("changes", {}).items()
    ]
    again = "it trains the same run again."
    if raised:
        again = f"but raised during training: {'; '.join(raised)}. So it may not train the same run again."
    return Prose(f"Resolved, with every default written out; {again}", tone="soft")


def _environment(run: RecordedRun) -> Facts:
    """Return what the run recorded of its machine and its data."""
    recorded, data = run.environment, run.dataset
    versions = ", ".join(f"{name} {version}" for name, version in recorded.get("versions", {}).items() if version)
    splits = data.get("splits", {})
    images = ", ".join(f"{split}: {count(each['images'], 'image')}" for split, each in splits.items())
    rows = {
        "Images": f"{data['root']} ({images})",
        "Content": ", ".join(f"{split} {each['sha256'][:16]}" for split, each in splits.items()),
        "Started": recorded.get("started"),
        "Command": shlex.join(recorded.get("argv", [])),
        "Directory": recorded.get("directory"),
        "Git commit": recorded.get("git_commit"),
        "Device": f"{recorded['device']}, {recorded['precision']}",
        "CPU cores": recorded.get("cpus"),
        "Platform": recorded.get("platform"),
        "Python": recorded.get("python"),
        "Versions": versions,
    }
    return Facts(tuple((name, str(value)) for name, value in rows.items() if value))
