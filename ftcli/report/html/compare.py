"""Owns the page of several runs: two side by side, more in a table against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.evaluation.compare.differences import Flip
from ftcli.evaluation.compare.evidence import Contrast
from ftcli.evaluation.compare.result import Findings, RunPair
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.significance import SIGNIFICANCE
from ftcli.metrics import METRICS
from ftcli.records import Interval
from ftcli.report.charts.curves import Curve, CurveChart, draw_curves
from ftcli.report.charts.diagrams import draw_differences
from ftcli.report.charts.thumbnails import Thumbnail, thumbnails
from ftcli.report.charts.timeline import draw_timeline
from ftcli.report.format import VAL_CHOSE_THE_EPOCH, metric_name, pending_text
from ftcli.report.html.page import HALF, WHOLE, chart, render
from ftcli.report.text.compare import chosen_epochs, equivalence, side_text, verdict
from ftcli.runs.read_run import RecordedRun

FLIPS = 12
"""As many flipped images are shown each way."""


@dataclass(frozen=True)
class ShownRun:
    """A run, how it did, and the letter and the name that the page calls it by."""

    letter: str
    name: str
    run: RecordedRun
    evaluation: Evaluation


@dataclass(frozen=True)
class ShownFlip:
    """A flip with its picture."""

    flip: Flip
    thumbnail: Thumbnail


def comparison_page(runs: Sequence[RecordedRun], evaluations: Sequence[Evaluation], findings: Findings) -> str:
    """Return the page of two runs or more, the first of which is the baseline."""
    names = _short_names([str(run.path.resolve()) for run in runs])
    shown = [
        ShownRun(_letter(number), name, run, evaluation)
        for number, (name, run, evaluation) in enumerate(zip(names, runs, evaluations, strict=True))
    ]
    context = {"runs": shown, "alerts": [pending_text(each) for each in findings.pending]}
    if len(runs) == 2:
        return render("two_runs.html", {**context, **_two(shown, findings.pairs[0])})
    return render("several_runs.html", {**context, **_several(shown, findings)})


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def _two(shown: Sequence[ShownRun], pair: RunPair) -> dict[str, Any]:
    a = shown[0].run
    comparison = pair.comparison
    shares = [
        (metric_name(name), Interval(each.difference, each.low, each.high))
        for name, each in comparison.metrics.items()
        if METRICS[name].drawn_with_accuracy
    ]
    loss, accuracy = _curves(shown, "loss"), _curves(shown, "accuracy")
    return {
        "title": " and ".join(each.name for each in shown),
        "pair": pair,
        "comparison": comparison,
        "verdict": f"{verdict(comparison)} {equivalence(comparison)}",
        "note": f"{comparison.resolution} {chosen_epochs(pair)}",
        "differences": chart(lambda width: draw_differences(shares, "B - A, in points", width), WHOLE),
        "loss": chart(lambda width: draw_curves(loss, width), HALF),
        "accuracy": chart(lambda width: draw_curves(accuracy, width), HALF),
        "timelines": [_timeline(each.run) for each in shown],
        "flips": [
            ("B is right, A is wrong", len(comparison.b_better), _flips(a, comparison.b_better)),
            ("A is right, B is wrong", len(comparison.a_better), _flips(a, comparison.a_better)),
        ],
    }


def _several(shown: Sequence[ShownRun], findings: Findings) -> dict[str, Any]:
    contrasts = findings.contrasts
    short = _short_names([contrasts[0].a_name, *(each.b_name for each in contrasts)])
    gaps = [
        (name, Interval(each.gap.difference, each.gap.low, each.gap.high))
        for name, each in zip(short[1:], contrasts, strict=True)
    ]
    return {
        **_baseline(shown, findings),
        "contrasts": [(each.b_name, each, _conclusion(each)) for each in contrasts],
        "pairs": list(zip(shown[1:], findings.pairs, strict=True)),
        "seeds": [group for group in findings.replicates if len(group.runs) > 1],
        "note": VAL_CHOSE_THE_EPOCH if any(any(pair.chose_epoch) for pair in findings.pairs) else "",
        "differences": chart(
            lambda width: draw_differences(gaps, "accuracy minus the baseline's, in points", width), WHOLE
        ),
        "changes": _all_changes(findings.pairs),
    }


def _baseline(shown: Sequence[ShownRun], findings: Findings) -> dict[str, Any]:
    """Return what others are compared with, and how right it is: the first run, or the mean of its group."""
    if not findings.sides:
        return {
            "title": f"{len(shown) - 1} runs against {shown[0].name}",
            "baseline": "A",
            "whose": f"The baseline, A, {shown[0].name},",
            "baseline_accuracy": shown[0].evaluation.metrics["accuracy"].value,
            "measured": "Accuracy",
        }
    first, *others = findings.sides
    return {
        "title": f"{', '.join(group.name for group in others)} against {first.name}",
        "baseline": first.name,
        "whose": f"The baseline, {side_text(first)},",
        "baseline_accuracy": first.metrics["accuracy"].mean,
        "measured": "Mean accuracy",
    }


def _short_names(names: Sequence[str]) -> list[str]:
    """Return the ends of paths, as much of each as tells all of them apart."""
    parts = [Path(name).parts for name in names]
    apart, longest = len(set(parts)), max(map(len, parts))
    depth = next(depth for depth in range(1, longest + 1) if len({each[-depth:] for each in parts}) == apart)
    return [str(Path(*each[-depth:])) for each in parts]


def _conclusion(contrast: Contrast) -> str:
    """Return what a contrast lets one say, adjusted for the number of them."""
    if contrast.adjusted >= SIGNIFICANCE:
        return "cannot be told apart"
    return "better" if contrast.gap.difference > 0 else "worse"


def _all_changes(pairs: Sequence[RunPair]) -> dict[str, list[Any]]:
    """Return every key in which a recipe differs from the baseline's, with its value in every run."""
    baseline = {key: change["a"] for pair in pairs for key, change in pair.recipe_changes.items()}
    return {key: [a, *(pair.recipe_changes.get(key, {"b": a})["b"] for pair in pairs)] for key, a in baseline.items()}


def _curves(shown: Sequence[ShownRun], what: str) -> CurveChart:
    curves = tuple(
        Curve(each.letter, kind, tuple(record.val[what] for record in each.run.records), each.run.best_epoch)
        for each, kind in zip(shown, ("a", "b"), strict=True)
    )
    return CurveChart(f"Validation {what}", curves, shares=what == "accuracy")


def _timeline(run: RecordedRun) -> Any:
    return chart(lambda width: draw_timeline(run.plan, run.records, width), WHOLE)


def _flips(run: RecordedRun, flips: Sequence[Flip]) -> list[ShownFlip]:
    """Return the flips of which the wrong run is surest, with pictures of run A's files."""
    first = sorted(flips, key=lambda flip: -_confidence_of_the_wrong(flip))[:FLIPS]
    content = dict(zip(run.predictions.paths, run.predictions.sha256, strict=True))
    pictures = thumbnails(run.image_root, [(flip.path, content[flip.path]) for flip in first])
    return [ShownFlip(flip, picture) for flip, picture in zip(first, pictures, strict=True)]


def _confidence_of_the_wrong(flip: Flip) -> float:
    return flip.b_probability if flip.a_predicted == flip.label else flip.a_probability
