"""Owns evaluations as plain text: tables that fit a width, and lines that are never broken.

Everything is text without markup or colour, so that names such as `[red]` stay as they are and a pipe, a log
and a terminal show the same.

Owns calibration and abstaining as plain text.

Owns the sentences on images that are scored although the network has met them before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from ftcli.evaluation.abstention import Abstention
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.predictions import Seen
from ftcli.evaluation.temperature import Calibration
from ftcli.records import Interval
from ftcli.report.format import (
    VAL_CHOSE_THE_EPOCH,
    absent_text,
    class_cells,
    count,
    difference_cells,
    figure,
    interval_text,
    metric_name,
    printable,
    prose,
    share,
    table,
)

_CLASS_ROWS = 30
_MATRIX_CLASSES = 20
_SHORT_NAME = 8
_PAIRS = 10


def evaluation_text(evaluation: Evaluation, *, notes: Sequence[str] = (), width: int = 80) -> str:
    """Return an evaluation for reading; notes, such as VAL_CHOSE_THE_EPOCH, come last."""
    parts = [
        f"{count(evaluation.images, 'image')}, {count(len(evaluation.classes), 'class', 'classes')}",
        metrics_text(evaluation.metrics, width),
        prose(absent_text(evaluation), width),
        _class_table(evaluation, width),
        _confusions(evaluation, width),
        *(prose(note, width) for note in notes),
    ]
    return "\n\n".join(part for part in parts if part)


def metrics_text(metrics: Mapping[str, Interval], width: int) -> str:
    """Return a table of figures with their 95 % intervals."""
    rows = [(metric_name(name), figure(name, each.value), interval_text(name, each)) for name, each in metrics.items()]
    return table(("metric", "value", "95 % interval"), rows, width)


def _class_table(evaluation: Evaluation, width: int) -> str:
    shown = evaluation.per_class[:_CLASS_ROWS]
    rows = [(printable(each.name), *class_cells(each)) for each in shown]
    header = ("class", "images", "precision", "recall", "95 % interval", "F1")
    shown_classes = table(header, rows, width)
    more = len(evaluation.per_class) - len(shown)
    return f"{shown_classes}\n  and {more} more; --json has them all" if more else shown_classes


def _confusions(evaluation: Evaluation, width: int) -> str:
    """Return the confusion matrix where it is small and fits, else the pairs that are confused most."""
    if len(evaluation.classes) <= _MATRIX_CLASSES:
        for matrix in (_matrix_with_names(evaluation), _matrix_with_numbers(evaluation)):
            if matrix and max(map(cell_len, matrix.splitlines())) <= width:
                return f"Confusion matrix: rows are true classes, columns predicted ones\n{matrix}"
    return _most_confused(evaluation, width)


def _matrix_with_names(evaluation: Evaluation) -> str:
    """Return the matrix with classes at the head of its columns; nothing where their names are long."""
    names = [printable(name) for name in evaluation.classes]
    if max(map(cell_len, names)) > _SHORT_NAME:
        return ""
    rows = [(name, *map(str, counts)) for name, counts in zip(names, evaluation.confusion, strict=True)]
    return table(("", *names), rows, width=10_000, gap=0)


def _matrix_with_numbers(evaluation: Evaluation) -> str:
    """Return the matrix as wide as it wants to be, its classes numbered."""
    numbers = [str(number) for number in range(1, len(evaluation.classes) + 1)]
    named = zip(numbers, evaluation.classes, evaluation.confusion, strict=True)
    rows = [(f"{number}: {printable(name)}", *map(str, counts)) for number, name, counts in named]
    return table(("", *numbers), rows, width=10_000, gap=0)


def _most_confused(evaluation: Evaluation, width: int) -> str:
    pairs = evaluation.most_confused
    if not pairs:
        return "No class was confused with another."
    rows = [
        (printable(pair.true), printable(pair.predicted), str(pair.images), share(pair.share))
        for pair in pairs[:_PAIRS]
    ]
    confused = table(("true class", "predicted", "images", "of the class"), rows, width, numbers_from=2)
    more = len(pairs) - len(rows)
    return f"Most confused\n{confused}" + (f"\n  and {count(more, 'more pair')}" if more else "")


_LEAST_SHOWN = 0.5
"""The coverage below which thresholds are left to --json."""


def calibration_text(calibration: Calibration, *, width: int = 80) -> str:
    """Return what a temperature does, and on which images it was fitted and judged."""
    how = f"Temperature {calibration.temperature:.3f}, fitted on {printable(calibration.source)}"
    how += f" ({count(calibration.images, 'image')})."
    if calibration.folds:
        how += (
            f" Some of these images are scored as well, so the figures are cross-fitted: in {calibration.folds} folds, "
            "each image by the temperature of the others."
        )
    if calibration.trained_on:
        how += " The network was trained on them and is surer of them than of others: rather fit on val."
    if calibration.unbounded:
        how += " The network is right on all of them, so the colder the better: do not rely on this temperature."
    rows = [(metric_name(name), *difference_cells(name, each)) for name, each in calibration.metrics.items()]
    return f"{prose(how, width)}\n{table(('metric', 'before', 'after', 'change', '95 % interval'), rows, width)}"


def abstention_text(abstention: Abstention, *, width: int = 80) -> str:
    """Return the threshold that is suggested, and what others would do."""
    target = share(abstention.target)
    found = abstention.suggestion
    if found is None:
        said = f"These images show of no threshold that {target} of the answers are right, at 95 % confidence."
    else:
        said = (
            f"Answer from a confidence of {found.threshold:.4f} on: {share(found.coverage)} of the images are "
            f"answered, {share(found.precision.value)} of them right; "
            f"at 95 % confidence at least {target} on images like these."
        )
    rows = [
        (
            f"{point.threshold:.4f}",
            share(point.coverage),
            str(point.images),
            share(point.precision.value),
            interval_text("accuracy", point.precision),
        )
        for point in reversed(abstention.curve)
        if point.coverage >= _LEAST_SHOWN
    ]
    header = ("from confidence", "answered", "images", "right", "95 % interval")
    return f"{prose(said, width)}\n{table(header, rows, width, numbers_from=0)}"


_ALL = "these images"


def seen_notes(seen: Seen) -> tuple[str, ...]:
    """Return a sentence on the images that were trained on and one on those that chose the epoch, where there are."""
    notes = []
    if seen.trained_on:
        which = _which(seen.trained_on, seen.images)
        notes.append(f"The network was trained on {which}, which flatters it; a test split tells the truth.")
    if seen.chose_epoch:
        notes.append(VAL_CHOSE_THE_EPOCH.replace(_ALL, _which(seen.chose_epoch, seen.images)))
    return tuple(notes)


def _which(count: int, images: int) -> str:
    return _ALL if count == images else f"{count:,} of these {images:,} images"
