"""How figures, names and settings read, wherever they are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftcli.data.checks.findings import Case, files_text
from ftcli.evaluation.compare.result import Pending
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.predictions import Seen
from ftcli.evaluation.ranking import QUICK_CELLS, ROC_AUC
from ftcli.metrics import METRICS
from ftcli.phrases import listed, resume_hint
from ftcli.plan import Phase
from ftcli.records import Gate, Interval, RunSummary

# Control characters, those that turn the direction of writing around, and halves of characters.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_VERY_LARGE = 1e5


def printable(name: str) -> str:
    """Return a name with control characters, turns of direction and undecodable bytes shown as escapes."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), name)


# Figures.


def metric_name(name: str) -> str:
    """Return a metric's name in words, saying which ones are better when they are lower."""
    metric = METRICS[name]
    return metric.words if metric.higher_is_better else f"{metric.words} (lower is better)"


def _as_percent(name: str) -> bool:
    """Return whether a figure is shown as a percentage; those of one class, such as its recall, always are."""
    return name not in METRICS or METRICS[name].as_percent


def figure(name: str, value: float) -> str:
    """Return a metric's value: a percentage, or a plain number where it is not a share."""
    return f"{100 * value:.1f} %" if _as_percent(name) else plain(value, 3)


def plain(value: float, digits: int) -> str:
    """Return a number of any size, such as a loss: with a power of ten where it is very large."""
    return f"{value:.{digits}f}" if abs(value) < _VERY_LARGE else f"{value:.{digits}e}"


def interval_text(name: str, interval: Interval) -> str:
    """Return the ends of a metric's interval."""
    return f"{figure(name, interval.low)} to {figure(name, interval.high)}"


def signed(name: str, value: float) -> str:
    """Return a difference of a metric: points, or a plain number where it is not a share."""
    return f"{100 * value:+.1f}" if _as_percent(name) else f"{value:+.3f}"


def deviation_text(name: str, value: float | None) -> str:
    """Return a metric's standard deviation in the unit of its differences; a dash where it is undefined."""
    return "-" if value is None else signed(name, value).removeprefix("+")


def share(value: float | None) -> str:
    """Return a share as a percentage; a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f} %"


def p_figure(value: float) -> str:
    """Return a p-value with two digits, for a column that says it is one."""
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def setting(value: Any) -> str:
    """Return a value of a recipe on one line."""
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def rate_text(rate: float | None, phase: Phase) -> str:
    """Return what a group does in a phase."""
    if rate is None:
        return "frozen"
    return "lbfgs" if phase.solver == "lbfgs" else f"{rate:.3g}"


# Remarks about figures.


def chosen_on(images: str) -> str:
    """Return that the epoch was chosen on some images, and what that means for their figures."""
    return f"The best epoch was chosen on {images}, which flatters it; a test split gives an unbiased figure."


VAL_CHOSE_THE_EPOCH = chosen_on("these images")


def seen_notes(seen: Seen) -> tuple[str, ...]:
    """Return a remark on the images that were trained on, one on those that chose the epoch, and what is not known."""

    def which(images: int) -> str:
        return "these images" if images == seen.images else f"{images:,} of these {seen.images:,} images"

    flattered = "which flatters it; a test split gives an unbiased figure."
    trained = f"The network was trained on {which(seen.trained_on)}, {flattered}" if seen.trained_on else ""
    began = f"Earlier runs, whose weights it began with, were trained on {which(seen.earlier)}." if seen.earlier else ""
    chosen = chosen_on(which(seen.chose_epoch)) if seen.chose_epoch else ""
    unknown = f"It began with {seen.unlisted}, whose training images are not known." if seen.unlisted else ""
    return tuple(note for note in (trained, began, chosen, unknown) if note)


def ranking_text(evaluation: Evaluation) -> str:
    """Return what ROC-AUC and average precision are, or why they are missing."""
    if ROC_AUC in evaluation.metrics:
        return "ROC-AUC and average precision are means over the classes, each of them against the rest."
    if evaluation.images * len(evaluation.classes) > QUICK_CELLS:
        return "ROC-AUC and average precision of so many images and classes take minutes: ftcli eval --ranking."
    return ""


def absent_text(evaluation: Evaluation) -> str:
    """Return which classes have no scored image, and what the means over classes then leave out."""
    absent = [each.name for each in evaluation.per_class if not each.images]
    if not absent:
        return ""
    left = len(evaluation.classes) - len(absent)
    rest = "the other class alone" if left == 1 else f"the other {left} classes"
    means = [metric_name(name) for name in evaluation.metrics if METRICS[name].over_classes]
    return f"No scored image is of {listed(absent)}: {', '.join(means[:-1])} and {means[-1]} are means over {rest}."


def never_predicted_text(evaluation: Evaluation) -> str:
    """Return which classes the model never answers with, although they have images; empty where there are none."""
    never = evaluation.never_predicted
    if not never:
        return ""
    images = sum(each.images for each in never)
    missed = "its image is" if images == 1 else f"all {images:,} images of {'it' if len(never) == 1 else 'them'} are"
    return f"The model never predicts {listed(each.name for each in never)}: {missed} wrong."


def uneven_text(evaluation: Evaluation) -> str:
    """Return what the accuracy of uneven classes is to be compared with; empty where the classes are even."""
    if (least := evaluation.uneven_share) is None:
        return ""
    common = max(evaluation.per_class, key=lambda each: each.images).name
    balanced = figure("balanced_accuracy", evaluation.metrics["balanced_accuracy"].value)
    return (
        f"The classes are uneven: always answering {common} has an accuracy of {share(least)}. Judge this model by its "
        f"balanced accuracy, {balanced}."
    )


def pending_text(pending: Pending) -> str:
    """Return which of the compared runs have not finished, and how to finish them."""
    early, awaited = pending.unfinished, pending.awaited
    remarks = []
    if early:
        have, their = ("has", "its") if len(early) == 1 else ("have", "their")
        remarks.append(f"{', '.join(early)} {have} not finished: {their} figures are those of {their} epochs so far.")
    if awaited:
        have, are = ("has", "is") if len(awaited) == 1 else ("have", "are")
        remarks.append(f"{', '.join(awaited)} {have} no figures yet and {are} left out.")
    return f"{' '.join(remarks)} {resume_hint(Path(pending.resume))}"


# Expectations and gates.


def gate_text(gate: Gate) -> str:
    """Return whether a gate holds, and why, on one line."""
    return printable(f"gate {gate.rule} {'holds' if gate.holds else 'FAILS'}: {gate.sentence}")


def gates_met(summary: RunSummary | None) -> str:
    """Return how many of a run's expectations hold; a dash where none was checked."""
    if summary is None or not summary.gates:
        return "-"
    return f"{sum(gate.holds for gate in summary.gates)} of {len(summary.gates)}"


def unchecked_text(names: Sequence[str]) -> str:
    """Return which expectations are about other images than those that were scored."""
    return f"Not checked, since these images are another split: {', '.join(names)}." if names else ""


# Images.


def case_text(case: Case, *, sign: str = "=") -> str:
    """Return the files of a case, the first ones of many or of each split, and its note; `sign` joins files."""
    if case.splits:
        places = ", ".join(f"{split} ({listed(names, most=1)})" for split, names in case.by_split.items())
        return f"{case.note}: {places}"
    return ": ".join(part for part in (files_text(case.files, sign=sign), case.note or "") if part)
