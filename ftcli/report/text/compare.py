"""What `ftcli compare` shows: two runs in full, more of them in a table, and the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftcli.evaluation.compare.differences import ClassDifference, Flip
from ftcli.evaluation.compare.evidence import Contrast
from ftcli.evaluation.compare.pair import Comparison
from ftcli.evaluation.compare.replicates import Replicates, Spread
from ftcli.evaluation.compare.result import Changes, Findings, RunPair
from ftcli.evaluation.significance import p_text
from ftcli.phrases import count
from ftcli.report.format import (
    VAL_CHOSE_THE_EPOCH,
    deviation_text,
    figure,
    metric_name,
    p_figure,
    pending_text,
    setting,
    signed,
)
from ftcli.report.sections import Cell, Lines, Prose, Row, Section, Table, numbers, prose, share_cell, texts
from ftcli.report.text.eval import difference_cells, differences_table, gates_section

_SHOWN = 10  # flips, and classes where there are more
_FOLDED = 50


def compare_title(findings: Findings) -> str:
    """Return which runs are compared with which."""
    baseline, *others = [side_text(side) for side in findings.sides] or findings.runs
    return f"{', '.join(others)} against {baseline}"


def compare_sections(findings: Findings) -> list[Section]:
    """Return what was found, runs that have not finished first."""
    sections = [Section("", prose(*map(pending_text, findings.pending), tone="alert"))]
    if len(findings.pairs) == 1:
        sections += pair_sections(findings.pairs[0])
    else:
        sections.append(Section("", (Lines(_runs(findings)), contrast_table(findings.contrasts))))
        for pair in findings.pairs:
            a, b = pair.comparison.names
            found = Prose(verdict(pair.comparison))
            sections.append(Section(f"{b} (B) against {a} (A)", (found, *change_parts(pair))))
    return [*sections, *seeds_sections(findings), gates_section(findings.gates)]


def pair_sections(pair: RunPair) -> list[Section]:
    """Return two runs: metrics, classes, recipes and flipped images, and the verdict, which ends a screen."""
    comparison = pair.comparison
    difference = differences_table(comparison.metrics, "A", "B", "B - A")
    return [
        Section("", (Lines(_heading(comparison)), difference)),
        Section("Classes", (recall_table(comparison.per_class),), folded=True),
        Section("", change_parts(pair)),
        _flips("B is right, A was wrong", comparison.b_better),
        _flips("A was right, B is wrong", comparison.a_better),
        Section("", prose(comparison.resolution, chosen_epochs(pair))),
        Section("", prose(conclusion(comparison)), verdict=True),
    ]


# Two runs.


def _heading(comparison: Comparison) -> tuple[str, ...]:
    a, b = comparison.names
    lines = [f"A  {a}", f"B  {b}", f"{count(comparison.images, 'image')} that both runs scored"]
    for letter, only in (("A", comparison.only_a), ("B", comparison.only_b)):
        if only:
            lines.append(f"{count(only, 'image')} scored by {letter} alone: not counted")
    if comparison.repeats:
        lines.append(f"{count(comparison.repeats, 'row')} with the content of another image: counted once")
    return tuple(lines)


def verdict(comparison: Comparison) -> str:
    """Return McNemar's test in plain words."""
    test = comparison.mcnemar
    if not test.b_better + test.a_better:
        return "Both runs are right and wrong on the same images: no difference in accuracy."
    better = "B is more accurate" if test.b_better > test.a_better else "A is more accurate"
    found = f"{better} on these images" if test.resolved else "no significant difference in accuracy"
    return (
        f"B is right on {count(test.b_better, 'image')} that A gets wrong, "
        f"A on {test.a_better} that B gets wrong; two-sided {p_text(test.p_value)}: {found}."
    )


def conclusion(comparison: Comparison) -> str:
    """Return the verdict and, where it is open, the margin that the images show the runs to be equivalent within."""
    if comparison.mcnemar.resolved:
        return verdict(comparison)
    margin = f"{100 * comparison.equivalent_within:.1f} points or more (TOST, 5 %)"
    return f"{verdict(comparison)} Equivalence in accuracy can be shown only for margins of {margin}."


def chosen_epochs(pair: RunPair) -> str:
    """Return which runs chose their best epoch on these images; nothing where both had one epoch."""
    if all(pair.chose_epoch):
        return f"{VAL_CHOSE_THE_EPOCH} That holds for both runs."
    if not any(pair.chose_epoch):
        return ""
    letter, other = ("A", "B") if pair.chose_epoch[0] else ("B", "A")
    return f"{VAL_CHOSE_THE_EPOCH} That holds for {letter}; {other} had one epoch and nothing to choose from."


def recall_table(classes: Sequence[ClassDifference]) -> Table:
    """Return the recall of each class in both runs; of many, those that differ most come first."""
    if len(classes) > _SHOWN:
        classes = sorted(classes, key=lambda each: -abs(each.difference))
    rows = [
        (
            each.name,
            str(each.images),
            share_cell(each.a),
            share_cell(each.b),
            Cell(signed("recall", each.difference), each.difference),
            f"{signed('recall', each.low)} to {signed('recall', each.high)}",
            Cell(p_figure(each.adjusted), each.adjusted),
        )
        for each in classes
    ]
    columns = (
        *texts("recall of", sort="up", kind="name"),
        *numbers("images", sort="down"),
        *numbers("A", "B", "B - A", sort="up"),
        *numbers("95 % interval"),
        *numbers("Holm p", sort="up"),
    )
    return Table(columns, rows, "Recall of each class in both runs", most=_SHOWN, tall=True)


def change_parts(pair: RunPair, *, folded: bool = True) -> tuple[Section | Prose, ...]:
    """Return what the runs differ in besides their predictions."""
    other_images = "The runs were trained on different images or labels." if pair.same_training_images is False else ""
    return (
        _changes("Recipe", pair.recipe_changes, folded=folded),
        *prose(other_images),
        _changes("Environment", pair.environment_changes, folded=folded),
    )


def _changes(what: str, changes: Changes, *, folded: bool) -> Section | Prose:
    if not changes:
        return Prose(f"The {what.lower()}s are the same.")
    rows = [(key, setting(change["a"]), setting(change["b"])) for key, change in changes.items()]
    table = Table(texts("key", "A", "B", kind="code"), rows, f"{what} keys that differ", line="{0}: {1} -> {2}")
    return Section(f"{what}, A -> B", (table,), folded=folded)


def _flips(title: str, flips: Sequence[Flip]) -> Section:
    rows = [
        (
            flip.path,
            flip.label,
            f"{flip.a_predicted} {flip.a_probability:.2f}",
            f"{flip.b_predicted} {flip.b_probability:.2f}",
        )
        for flip in flips
    ]
    columns = texts("image", "label", "A says", "B says")
    table = Table(columns, rows, line="{0}: {1} (A {2}, B {3})", most=_SHOWN, most_folded=_FOLDED)
    return Section(f"{title}: {count(len(flips), 'image')}", (table,) if rows else (), folded=True)


# More runs, and seeds.


def _runs(findings: Findings) -> tuple[str, ...]:
    first = findings.runs[0] if findings.sides else "the baseline"
    images = sorted({pair.comparison.images for pair in findings.pairs})
    shared = f"{count(images[0], 'image')}{' or more' if len(images) > 1 else ''} that each run shares with {first}"
    baseline, *others = [side_text(side) for side in findings.sides] or findings.runs
    return (f"baseline  {baseline}", *(f"          {name}" for name in others), shared)


def contrast_table(contrasts: Sequence[Contrast]) -> Table:
    """Return every run or group against the baseline."""
    p_values = [Cell(p_figure(each.adjusted), each.adjusted) for each in contrasts]
    rows: list[Row] = [
        (each.b_name, metric_name(each.metric), *difference_cells(each.metric, each), p_value)
        for each, p_value in zip(contrasts, p_values, strict=True)
    ]
    columns = (
        *texts("against the baseline", "metric", sort="up"),
        *numbers("baseline"),
        *numbers("value", "gap", sort="down"),
        *numbers("95 % interval"),
        *numbers("Holm p", sort="up"),
    )
    return Table(columns, rows, "Runs or groups of seeds against the baseline")


def side_text(group: Replicates) -> str:
    """Return the name of a side of a comparison, and whether its figures are means."""
    runs = len(group.runs)
    return f"{group.name}, the mean of {runs} seeds" if runs > 1 else group.name


def seeds_sections(findings: Findings) -> list[Section]:
    """Return the runs that differ in the seed alone, the runs of each recipe as one result."""
    several = [group for group in findings.replicates if len(group.runs) > 1]
    titles = [f"{count(len(group.runs), 'seed')} of one recipe: {', '.join(group.runs)}" for group in several]
    return [
        Section(title, (spread_table(group.metrics), Prose(SHARED_VIEWS)))
        for title, group in zip(titles, several, strict=True)
    ]


SHARED_VIEWS = "Unless data.share_views is false, all seeds train on the same augmented views."


def spread_table(spread: Mapping[str, Spread]) -> Table:
    """Return every metric's mean and standard deviation over seeds."""
    rows = [
        (metric_name(name), figure(name, each.mean), deviation_text(name, each.deviation))
        for name, each in spread.items()
    ]
    columns = (*texts("metric"), *numbers("mean", "standard deviation"))
    return Table(columns, rows, "Mean and standard deviation over the seeds", narrow=True)
