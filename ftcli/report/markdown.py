"""Owns Markdown as GitHub reads it: tables, what is folded away, and names that show as they are.

Owns what `ftcli compare` found as Markdown, for a comment on a pull request.

Owns an evaluation as Markdown, for a comment on a pull request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftcli.evaluation.compare.differences import Flip
from ftcli.evaluation.compare.evidence import Contrast
from ftcli.evaluation.compare.replicates import Replicates
from ftcli.evaluation.compare.result import Findings, RunPair
from ftcli.evaluation.evaluate import Evaluation
from ftcli.evaluation.significance import p_text
from ftcli.records import Gate
from ftcli.report.format import (
    absent_text,
    class_cells,
    count,
    difference_cells,
    figure,
    interval_text,
    metric_name,
    pending_text,
    printable,
    setting,
    share,
    signed,
)
from ftcli.report.text.compare import (
    chosen_epochs,
    equivalence,
    pair_title,
    seeds_title,
    side_text,
    verdict,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&@$])")


def folded(title: str, body: str) -> str:
    """Return a body that opens on a click on its title."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, its first column to the left and the others to the right; cells are Markdown already."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is; names may hold anything."""
    return _SPECIAL.sub(r"\\\1", printable(text))


_FLIPS = 50


def findings_markdown(findings: Findings) -> str:
    """Return what was found as GitHub's Markdown: gates first, tables, and the rest folded away."""
    baseline, *others = [side_text(group) for group in findings.sides] or findings.runs
    title = f"## {', '.join(map(escaped, others))} against {escaped(baseline)}"
    early = [f"**{escaped(pending_text(each))}**" for each in findings.pending]
    parts = [title, *early, gates_markdown(findings.gates)]
    if len(findings.pairs) == 1:
        parts += [_pair(findings.pairs[0])]
    else:
        parts += [_contrasts(findings.contrasts), *(_short(pair) for pair in findings.pairs)]
    parts += [_seeds(group) for group in findings.replicates if len(group.runs) > 1]
    return "\n\n".join(part for part in parts if part)


def gates_markdown(gates: Sequence[Gate]) -> str:
    """Return each gate with its reason as a list."""
    return "\n".join(
        f"* **{'holds' if gate.holds else 'fails'}** `{gate.rule}`: {escaped(gate.sentence)}" for gate in gates
    )


def _pair(pair: RunPair) -> str:
    comparison = pair.comparison
    a, b = map(escaped, comparison.names)
    rows = [(metric_name(name), *difference_cells(name, each)) for name, each in comparison.metrics.items()]
    parts = [
        f"A is {a}, B is {b}; {count(comparison.images, 'image')}.",
        escaped(f"{verdict(comparison)} {equivalence(comparison)}".rstrip()),
        table(("metric", "A", "B", "B - A", "95 % interval"), rows),
        escaped(comparison.resolution),
        escaped(chosen_epochs(pair)),
        _changes(pair),
        _flips("B is right, A was wrong", comparison.b_better),
        _flips("A was right, B is wrong", comparison.a_better),
    ]
    return "\n\n".join(part for part in parts if part)


def _short(pair: RunPair) -> str:
    text = f"**{escaped(pair_title(pair))}**: {escaped(verdict(pair.comparison))}"
    changes = _changes(pair)
    return f"{text}\n\n{changes}" if changes else text


def _contrasts(contrasts: Sequence[Contrast]) -> str:
    rows = [
        (
            escaped(each.b_name),
            metric_name(each.metric),
            *difference_cells(each.metric, each.gap),
            escaped(p_text(each.adjusted)),
        )
        for each in contrasts
    ]
    return table(("against the baseline", "metric", "baseline", "value", "gap", "95 % interval", "Holm"), rows)


def _seeds(group: Replicates) -> str:
    rows = [
        (metric_name(name), figure(name, each.mean), signed(name, each.deviation or 0.0).removeprefix("+"))
        for name, each in group.metrics.items()
    ]
    return f"{escaped(seeds_title(group))}\n\n{table(('metric', 'mean', 'standard deviation'), rows)}"


def _changes(pair: RunPair) -> str:
    changes = {**pair.recipe_changes, **pair.environment_changes}
    rows = [(escaped(key), escaped(setting(each["a"])), escaped(setting(each["b"]))) for key, each in changes.items()]
    return folded("Recipe and environment", table(("key", "A", "B"), rows)) if rows else ""


def _flips(title: str, flips: Sequence[Flip]) -> str:
    rows = [tuple(map(escaped, (flip.path, flip.label, flip.a_predicted, flip.b_predicted))) for flip in flips[:_FLIPS]]
    more = f"\n\nand {len(flips) - _FLIPS} more" if len(flips) > _FLIPS else ""
    shown = table(("image", "label", "A says", "B says"), rows)
    return folded(f"{title}: {count(len(flips), 'image')}", shown + more) if flips else ""


_PAIRS = 20


def evaluation_markdown(evaluation: Evaluation, gates: Sequence[Gate], *, title: str, note: str) -> str:
    """Return an evaluation: gates first, metrics, and classes and confusions folded away."""
    rows = [
        (metric_name(name), figure(name, each.value), interval_text(name, each))
        for name, each in evaluation.metrics.items()
    ]
    parts = [
        f"## {escaped(title)}",
        gates_markdown(gates),
        f"{count(evaluation.images, 'image')}, {count(len(evaluation.classes), 'class', 'classes')}",
        table(("metric", "value", "95 % interval"), rows),
        escaped(absent_text(evaluation)),
        note,
        _classes(evaluation),
        _confused(evaluation),
    ]
    return "\n\n".join(part for part in parts if part)


def _classes(evaluation: Evaluation) -> str:
    rows = [(escaped(each.name), *class_cells(each)) for each in evaluation.per_class]
    header = ("class", "images", "precision", "recall", "95 % interval", "F1")
    return folded(count(len(rows), "class", "classes"), table(header, rows))


def _confused(evaluation: Evaluation) -> str:
    pairs = evaluation.most_confused
    rows = [
        (escaped(pair.true), escaped(pair.predicted), str(pair.images), share(pair.share)) for pair in pairs[:_PAIRS]
    ]
    more = f"\n\nand {count(len(pairs) - _PAIRS, 'more pair')}" if len(pairs) > _PAIRS else ""
    shown = table(("true class", "predicted", "images", "of the class"), rows)
    return folded("Most confused", shown + more) if pairs else ""
