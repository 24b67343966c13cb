"""Matching the predictions of runs: classes by name, images by the hash of their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ftcli.errors import ComparisonError
from ftcli.evaluation.predictions import Predictions
from ftcli.phrases import count, listed


@dataclass(frozen=True, eq=False)
class Paired:
    """Two runs' predictions of the same images, in one order of images and of classes.

    `only_a` and `only_b` count the contents that the other run has not scored, `repeats` the rows of either run that
    repeat a content and are not counted again.
    """

    a: Predictions
    b: Predictions
    only_a: int
    only_b: int
    repeats: int

    def reversed(self) -> Paired:
        """Return the same pair with A and B exchanged."""
        return Paired(self.b, self.a, only_a=self.only_b, only_b=self.only_a, repeats=self.repeats)


def pair_by_content(a: Predictions, b: Predictions, *, names: tuple[str, str]) -> Paired:
    """Match two runs' predictions; each content counts once, by its first row.

    Raises ComparisonError for different classes, conflicting labels of one content, or no shared content.
    """
    (paired_a, paired_b), rows = _match((a, b), names)
    return Paired(
        paired_a,
        paired_b,
        only_a=len(rows[0]) - len(paired_a),
        only_b=len(rows[1]) - len(paired_a),
        repeats=len(a) - len(rows[0]) + len(b) - len(rows[1]),
    )


def match_by_content(runs: Sequence[Predictions], *, names: Sequence[str]) -> tuple[Predictions, ...]:
    """Return the predictions of the images that all runs scored, in one order of images and of classes.

    Raises what `pair_by_content` raises.
    """
    return _match(runs, names)[0]


def _match(runs: Sequence[Predictions], names: Sequence[str]) -> tuple[tuple[Predictions, ...], list[dict[str, int]]]:
    """Return the runs' predictions of shared images, and each run's first row of each of its contents."""
    first = runs[0]
    for run, name in zip(runs[1:], names[1:], strict=True):
        _check_classes(first, run, names=(names[0], name))
    rows = [_first_rows(run, name) for run, name in zip(runs, names, strict=True)]
    shared = [content for content in rows[0] if all(content in other for other in rows[1:])]
    if not shared:
        raise ComparisonError(
            f"{' and '.join(names)} have no image in common",
            hint="Images are matched by content: compare runs that were validated on the same ones.",
        )
    matched = tuple(
        _select(run, [of_run[content] for content in shared], first.classes)
        for run, of_run in zip(runs, rows, strict=True)
    )
    for run, name in zip(matched[1:], names[1:], strict=True):
        _check_labels(matched[0], run, names=(names[0], name))
    return matched, rows


def _check_classes(a: Predictions, b: Predictions, *, names: tuple[str, str]) -> None:
    if set(a.classes) == set(b.classes):
        return
    extra = []
    for name, one, other in ((names[0], a, b), (names[1], b, a)):
        if alone := sorted(set(one.classes) - set(other.classes)):
            extra.append(f"only {name} has {listed(map(repr, alone))}")
    raise ComparisonError(
        f"{names[0]} and {names[1]} have different classes: {'; '.join(extra)}",
        hint="Only runs with the same classes can be compared.",
    )


def _first_rows(predictions: Predictions, name: str) -> dict[str, int]:
    """Return the first row of each content, refusing contents with more than one label."""
    first: dict[str, int] = {}
    labels = predictions.labels.tolist()
    for row, content in enumerate(predictions.sha256):
        earlier = first.setdefault(content, row)
        if labels[earlier] != labels[row]:
            one, other = (f"{predictions.paths[each]} ({predictions.classes[labels[each]]})" for each in (earlier, row))
            raise ComparisonError(
                f"the same image has two labels in {name}: {one} and {other}",
                hint="`ftcli check` lists such conflicts; decide on one label and train again.",
            )
    return first


def _select(predictions: Predictions, rows: list[int], classes: tuple[str, ...]) -> Predictions:
    """Return some rows, with the classes in another order."""
    position_of = {name: position for position, name in enumerate(predictions.classes)}
    columns = np.array([position_of[name] for name in classes])
    renumbered: NDArray[np.int64] = np.argsort(columns)
    chosen = predictions.rows(rows)
    return replace(
        chosen, classes=classes, given_labels=renumbered[chosen.labels], probabilities=chosen.probabilities[:, columns]
    )


def _check_labels(a: Predictions, b: Predictions, *, names: tuple[str, str]) -> None:
    conflicts = np.flatnonzero(a.labels != b.labels)
    for image in conflicts[:1]:
        one = f"{a.paths[image]} is {a.classes[a.labels[image]]} in {names[0]}"
        other = f"{b.paths[image]} is {b.classes[b.labels[image]]} in {names[1]}"
        raise ComparisonError(
            f"{count(len(conflicts), 'shared image has', 'shared images have')} different labels: {one}, and {other}",
            hint="The labels changed between the runs: train the older one again.",
        )
