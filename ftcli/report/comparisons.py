"""Owns comparisons as plain text: the verdict, what differs, and the flipped images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftcli.evaluation.comparison import Comparison
from ftcli.evaluation.differences import Difference
from ftcli.evaluation.flips import Flip
from ftcli.report.text import count, printable, prose, table
from ftcli.report.wording import VAL_CHOSE_THE_EPOCH, figure, metric_name, p_value, setting, signed

_FLIPS = 10


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
