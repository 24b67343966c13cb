"""Owns what `ftcli compare` found as plain text: two runs in full, more of them as a table, and the gates.

Owns two runs against each other as plain text: the verdict, what differs, and the flipped images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftcli.evaluation.compare.differences import ClassDifference, Difference, Flip
from ftcli.evaluation.compare.evidence import Contrast
from ftcli.evaluation.compare.pair import Comparison
from ftcli.evaluation.compare.replicates import Replicates
from ftcli.evaluation.compare.result import Changes, Findings, RunPair
from ftcli.evaluation.significance import p_text
from ftcli.records import Gate
from ftcli.report.format import (
    VAL_CHOSE_THE_EPOCH,
    count,
    difference_cells,
    metric_name,
    pending_text,
    printable,
    prose,
    setting,
    share,
    signed,
    table,
)
from ftcli.report.text.train import spread_table


def findings_text(findings: Findings, *, width: int = 80) -> str:
    """Return what was found for reading; what is not trained yet comes first, gates last."""
    parts = [prose(printable(pending_text(each)), width) for each in findings.pending]
    if len(findings.pairs) == 1:
        parts += [pair_text(findings.pairs[0], width=width)]
    else:
        parts += [_runs(findings), _contrast_table(findings.contrasts, width), *_pairs(findings, width)]
    parts += [seeds_text(group, width=width) for group in findings.replicates if len(group.runs) > 1]
    parts.append(gates_text(findings.gates, width=width))
    return "\n\n".join(part for part in parts if part)


def gates_text(gates: Sequence[Gate], *, width: int = 80) -> str:
    """Return each gate with its reason."""
    return "\n".join(prose(gate_text(gate), width) for gate in gates)


def gate_text(gate: Gate) -> str:
    """Return whether a gate holds, and why, on one line."""
    return printable(f"gate {gate.rule} {'holds' if gate.holds else 'FAILS'}: {gate.sentence}")


def _runs(findings: Findings) -> str:
    first = printable(findings.runs[0]) if findings.sides else "the baseline"
    images = sorted({pair.comparison.images for pair in findings.pairs})
    shared = f"{count(images[0], 'image')}{' or more' if len(images) > 1 else ''} that each run shares with {first}"
    names = [side_text(group) for group in findings.sides] or list(findings.runs)
    lines = [f"baseline  {printable(names[0])}", *(f"          {printable(name)}" for name in names[1:])]
    return "\n".join([*lines, shared])


def _contrast_table(contrasts: Sequence[Contrast], width: int) -> str:
    rows = [
        (
            printable(each.b_name),
            metric_name(each.metric),
            *difference_cells(each.metric, each.gap),
            p_text(each.adjusted).removeprefix("p ").removeprefix("= "),
        )
        for each in contrasts
    ]
    header = ("against the baseline", "metric", "baseline", "value", "gap", "95 % interval", "p (Holm)")
    return table(header, rows, width, numbers_from=2)


def _pairs(findings: Findings, width: int) -> list[str]:
    """Return, for every run but the first (A), the verdict and what else differs."""
    return [
        f"{pair_title(pair)}\n{prose(verdict(pair.comparison), width)}\n{changes_text(pair)}" for pair in findings.pairs
    ]


def pair_title(pair: RunPair) -> str:
    """Return which run stands against which."""
    a, b = map(printable, pair.comparison.names)
    return f"{b} (B) against {a} (A)"


def side_text(group: Replicates) -> str:
    """Return what a group is called where groups are compared, and that its figures are means."""
    runs = len(group.runs)
    return f"{group.name}, the mean of {runs} seeds" if runs > 1 else group.name


def seeds_text(group: Replicates, *, width: int = 80) -> str:
    """Return several seeds of one recipe as one result: mean and standard deviation of every metric."""
    return f"{seeds_title(group)}\n{spread_table(group.metrics, width)}"


def seeds_title(group: Replicates) -> str:
    """Return which runs are seeds of one recipe."""
    return f"{count(len(group.runs), 'seed')} of one recipe: {', '.join(map(printable, group.runs))}"


_FLIPS = 10
_CLASSES = 10


def pair_text(pair: RunPair, *, width: int = 80) -> str:
    """Return two runs for reading: the verdict first, then metrics, classes, recipes and flipped images."""
    comparison = pair.comparison
    parts = [
        _heading(comparison),
        prose(f"{verdict(comparison)} {equivalence(comparison)}".rstrip(), width),
        _difference_table(comparison.metrics, width),
        _class_table(comparison.per_class, width),
        changes_text(pair),
        _flips("B is right, A was wrong", comparison.b_better),
        _flips("A was right, B is wrong", comparison.a_better),
        prose(comparison.resolution, width),
        prose(chosen_epochs(pair), width),
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
        f"A on {test.a_better} that B gets wrong; {p_text(test.p_value)}: {conclusion}."
    )


def equivalence(comparison: Comparison) -> str:
    """Return how near to each other the images show two runs to be that they cannot tell apart."""
    if comparison.mcnemar.resolved:
        return ""
    margin = f"{100 * comparison.equivalent_within:.1f}"
    return f"Two one-sided tests at 5 % show their accuracies to be equivalent within {margin} points, and no less."


def chosen_epochs(pair: RunPair) -> str:
    """Return whom the images flatter because they also chose its best epoch; nothing where they chose none."""
    if all(pair.chose_epoch):
        return f"{VAL_CHOSE_THE_EPOCH} That holds for both runs."
    if not any(pair.chose_epoch):
        return ""
    letter, other = ("A", "B") if pair.chose_epoch[0] else ("B", "A")
    return f"{VAL_CHOSE_THE_EPOCH} That holds for {letter}; {other} had one epoch and nothing to choose from."


def changes_text(pair: RunPair) -> str:
    """Return what the runs differ in besides their predictions."""
    parts = [_changes("Recipe", pair.recipe_changes) or "The recipes are the same."]
    if pair.same_training_images is False:
        parts.append("They were trained on different images or labels.")
    parts.append(_changes("Environment", pair.environment_changes))
    return "\n\n".join(part for part in parts if part)


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
    rows = [(metric_name(name), *difference_cells(name, each)) for name, each in metrics.items()]
    return table(("metric", "A", "B", "B - A", "95 % interval"), rows, width)


def _class_table(classes: Sequence[ClassDifference], width: int) -> str:
    """Return the recall of every class or, of many, of those that differ most."""
    shown = classes
    if len(classes) > _CLASSES:
        shown = sorted(classes, key=lambda each: -abs(each.difference))[:_CLASSES]
    rows = [
        (
            printable(each.name),
            str(each.images),
            share(each.a),
            share(each.b),
            signed("recall", each.difference),
            f"{signed('recall', each.low)} to {signed('recall', each.high)}",
            p_text(each.adjusted).removeprefix("p ").removeprefix("= "),
        )
        for each in shown
    ]
    named = table(("recall of", "images", "A", "B", "B - A", "95 % interval", "p (Holm)"), rows, width)
    more = len(classes) - len(shown)
    return f"{named}\n  and {more} more that differ less; --json has them all" if more else named


def _changes(title: str, changes: Changes) -> str:
    lines = [f"  {printable(key)}: {setting(change['a'])} -> {setting(change['b'])}" for key, change in changes.items()]
    return "\n".join([f"{title}, A -> B", *lines]) if lines else ""


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
