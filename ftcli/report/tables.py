"""Owns evaluations and comparisons as plain text: tables that fit a width, and lines that are never broken.

Everything is text without markup or colour, so that names such as `[red]` stay as they are and a pipe, a log
and a terminal show the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from ftcli.evaluation.comparison import Comparison, Difference, Flip
from ftcli.evaluation.metrics import Evaluation
from ftcli.records import Interval
from ftcli.report.text import count, printable, prose, table
from ftcli.report.wording import VAL_CHOSE_THE_EPOCH, figure, metric_name, p_value, setting, share, signed

_CLASS_ROWS = 30
_MATRIX_CLASSES = 20
_PAIRS = 10
_FLIPS = 10


def evaluation_text(evaluation: Evaluation, *, notes: Sequence[str] = (), width: int = 80) -> str:
    """Return an evaluation for reading; notes, such as VAL_CHOSE_THE_EPOCH, come last."""
    parts = [
        f"{count(evaluation.images, 'image')}, {count(len(evaluation.classes), 'class', 'classes')}",
        metrics_text(evaluation.metrics, width),
        _class_table(evaluation, width),
        _confusions(evaluation, width),
        *(prose(note, width) for note in notes),
    ]
    return "\n\n".join(part for part in parts if part)


def comparison_text(comparison: Comparison, recipe_changes: Mapping[str, Mapping[str, Any]], *, width: int = 80) -> str:
    """Return a comparison for reading: the verdict first, then metrics, recipes and flipped images."""
    parts = [
        _heading(comparison),
        prose(verdict(comparison), width),
        _difference_table(comparison.metrics, width),
        _changes(recipe_changes),
        _flips("B is right, A was wrong", comparison.b_better),
        _flips("A was right, B is wrong", comparison.a_better),
        prose(comparison.resolution, width),
        prose(f"{VAL_CHOSE_THE_EPOCH} That holds for both runs.", width),
    ]
    return "\n\n".join(part for part in parts if part)


def verdict(comparison: Comparison) -> str:
    """Return McNemar's test in plain words."""
    test = comparison.mcnemar
    if not test.b_better + test.a_better:
        return "Both runs are right and wrong on the same images: the data cannot tell them apart."
    better = "B is better" if test.b_better > test.a_better else "A is better"
    conclusion = f"{better} on these images" if test.resolved else "the data cannot tell them apart"
    return (
        f"B is right on {count(test.b_better, 'image')} that A gets wrong, "
        f"A on {test.a_better} that B gets wrong; {p_value(test.p_value)}: {conclusion}."
    )


def _heading(comparison: Comparison) -> str:
    a, b = (printable(name) for name in comparison.names)
    lines = [f"A  {a}", f"B  {b}", f"{count(comparison.images, 'image')} that both runs scored"]
    for letter, only in (("A", comparison.only_a), ("B", comparison.only_b)):
        if only:
            lines.append(f"{count(only, 'image')} scored by {letter} alone: not counted")
    if comparison.repeats:
        lines.append(f"{count(comparison.repeats, 'row')} with the content of another image: counted once")
    return "\n".join(lines)


def metrics_text(metrics: Mapping[str, Interval], width: int) -> str:
    """Return a table of figures with their 95 % intervals."""
    rows = [
        (metric_name(name), figure(name, each.value), f"{figure(name, each.low)} to {figure(name, each.high)}")
        for name, each in metrics.items()
    ]
    return table(("metric", "value", "95 % interval"), rows, width)


def _difference_table(metrics: Mapping[str, Difference], width: int) -> str:
    rows = [
        (
            metric_name(name),
            figure(name, each.a),
            figure(name, each.b),
            signed(name, each.difference),
            f"{signed(name, each.low)} to {signed(name, each.high)}",
        )
        for name, each in metrics.items()
    ]
    return table(("metric", "A", "B", "B - A", "95 % interval"), rows, width)


def _class_table(evaluation: Evaluation, width: int) -> str:
    shown = evaluation.per_class[:_CLASS_ROWS]
    rows = [
        (printable(each.name), str(each.images), *(share(v) for v in (each.precision, each.recall, each.f1)))
        for each in shown
    ]
    shown_classes = table(("class", "images", "precision", "recall", "F1"), rows, width)
    more = len(evaluation.per_class) - len(shown)
    return f"{shown_classes}\n  and {more} more; --json has them all" if more else shown_classes


def _confusions(evaluation: Evaluation, width: int) -> str:
    """Return the confusion matrix where it is small and fits, else the pairs that are confused most."""
    if len(evaluation.classes) <= _MATRIX_CLASSES:
        matrix = _matrix(evaluation)
        if max(map(cell_len, matrix.splitlines())) <= width:
            return f"Confusion matrix: rows are true classes, columns predicted ones\n{matrix}"
    return _most_confused(evaluation, width)


def _matrix(evaluation: Evaluation) -> str:
    """Return the matrix as wide as it wants to be."""
    numbers = [str(number) for number in range(1, len(evaluation.classes) + 1)]
    named = zip(numbers, evaluation.classes, evaluation.confusion, strict=True)
    rows = [(f"{number}: {printable(name)}", *map(str, counts)) for number, name, counts in named]
    return table(("", *numbers), rows, width=10_000, gap=0)


def _most_confused(evaluation: Evaluation, width: int) -> str:
    pairs = [
        (images, true, predicted)
        for true, counts in enumerate(evaluation.confusion)
        for predicted, images in enumerate(counts)
        if images and true != predicted
    ]
    if not pairs:
        return "No class was confused with another."
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    names = [printable(name) for name in evaluation.classes]
    rows = [(names[true], names[predicted], str(images)) for images, true, predicted in pairs[:_PAIRS]]
    confused = table(("true class", "predicted", "images"), rows, width, numbers_from=2)
    more = len(pairs) - len(rows)
    return f"Most confused\n{confused}" + (f"\n  and {count(more, 'more pair')}" if more else "")


def _changes(changes: Mapping[str, Mapping[str, Any]]) -> str:
    if not changes:
        return "The recipes are the same."
    lines = [f"  {printable(key)}: {setting(change['a'])} -> {setting(change['b'])}" for key, change in changes.items()]
    return "\n".join(["Recipe, A -> B", *lines])


def _flips(title: str, flips: Sequence[Flip]) -> str:
    if not flips:
        return ""
    lines = [
        f"  {printable(flip.path)}: {printable(flip.label)}"
        f" (A {printable(flip.a_predicted)} {flip.a_probability:.2f},"
        f" B {printable(flip.b_predicted)} {flip.b_probability:.2f})"
        for flip in flips[:_FLIPS]
    ]
    more = len(flips) - len(lines)
    tail = [f"  and {more} more; --json has them all"] if more else []
    return "\n".join([f"{title}: {count(len(flips), 'image')}", *lines, *tail])
