"""Owns whether an evaluation meets what its recipe expects."""

from __future__ import annotations

from collections.abc import Mapping

from ftcli.evaluation.metrics import Evaluation
from ftcli.recipe_expect import ExpectedName, parse_condition
from ftcli.records import Gate, Interval

SPLITS = ("train", "val", "test")


def check_expectations(
    expect: Mapping[ExpectedName, str], evaluation: Evaluation, *, split: str | None, run: str
) -> tuple[Gate, ...]:
    """Return a gate for every expectation that speaks of these images.

    A name with `val_` or `test_` before it speaks of that split alone, any other of whatever is scored; `split` is
    None for images that are no split. It is the figure itself that must meet the condition, not its interval.
    """
    gates = []
    for name, text in expect.items():
        of_split, metric = split_of(name)
        if of_split in {None, split} and (found := _figure(metric, evaluation)) is not None:
            figure, what = found
            holds = parse_condition(text).holds(figure.value)
            sentence = (
                f"{name} is {figure.value:.4f}{what} (95 % interval {figure.low:.4f} to {figure.high:.4f}), "
                f"{'as' if holds else 'not as'} expected: {text.strip()}."
            )
            gates.append(Gate(f"expect {text.strip()}", name, run, holds, sentence))
    return tuple(gates)


def unchecked(expect: Mapping[ExpectedName, str], *, split: str | None) -> tuple[str, ...]:
    """Return the expectations that speak of other images than these."""
    return tuple(name for name in expect if split_of(name)[0] not in {None, split})


def split_of(name: str) -> tuple[str | None, str]:
    """Return the split that an expectation speaks of, None for any, and its metric."""
    split, _, metric = name.partition("_")
    return (split, metric) if split in SPLITS else (None, name)


def _figure(metric: str, evaluation: Evaluation) -> tuple[Interval, str] | None:
    """Return a metric's figure, and what to say of it; None where there is none, as top-5 accuracy of five classes."""
    if metric == "worst_class_recall":
        worst = evaluation.worst_class
        assert worst.recall is not None, "the worst class has images"
        return worst.recall, f", of {worst.name} with {worst.images} images"
    figure = evaluation.metrics.get(metric)
    return None if figure is None else (figure, "")
