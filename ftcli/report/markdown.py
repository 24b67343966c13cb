"""Owns what `ftcli compare` found as Markdown, for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftcli.evaluation.findings import Contrast, Findings, RunPair, SeedGroup
from ftcli.evaluation.flips import Flip
from ftcli.evaluation.gates import Gate
from ftcli.evaluation.significance import p_text
from ftcli.report.comparisons import chosen_epochs, equivalence, verdict
from ftcli.report.text import count, printable
from ftcli.report.wording import figure, metric_name, setting, signed

_FLIPS = 50
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&@$])")


def findings_markdown(findings: Findings) -> str:
    """Return what was found as GitHub's Markdown: gates first, tables, and the rest folded away."""
    title = f"## {_escaped(findings.runs[0])} against {', '.join(map(_escaped, findings.runs[1:]))}"
    parts = [title, _gates(findings.gates)]
    if len(findings.pairs) == 1:
        parts += [_pair(findings.pairs[0])]
    else:
        parts += [_contrasts(findings.contrasts), *(_short(pair) for pair in findings.pairs)]
    parts += [_seeds(group) for group in findings.groups if len(group.runs) > 1]
    return "\n\n".join(part for part in parts if part)


def _gates(gates: Sequence[Gate]) -> str:
    return "\n".join(
        f"* **{'holds' if gate.holds else 'fails'}** `{gate.rule}`: {_escaped(gate.sentence)}" for gate in gates
    )


def _pair(pair: RunPair) -> str:
    comparison = pair.comparison
    a, b = map(_escaped, comparison.names)
    rows = [
        (
            metric_name(name),
            figure(name, each.a),
            figure(name, each.b),
            signed(name, each.difference),
            f"{signed(name, each.low)} to {signed(name, each.high)}",
        )
        for name, each in comparison.metrics.items()
    ]
    parts = [
        f"A is {a}, B is {b}; {count(comparison.images, 'image')}.",
        _escaped(f"{verdict(comparison)} {equivalence(comparison)}".rstrip()),
        _table(("metric", "A", "B", "B - A", "95 % interval"), rows),
        _escaped(comparison.resolution),
        _escaped(chosen_epochs(pair)),
        _changes(pair),
        _flips("B is right, A was wrong", comparison.b_better),
        _flips("A was right, B is wrong", comparison.a_better),
    ]
    return "\n\n".join(part for part in parts if part)


def _short(pair: RunPair) -> str:
    text = (
        f"**{_escaped(pair.comparison.names[1])}** (B) against the baseline (A): {_escaped(verdict(pair.comparison))}"
    )
    changes = _changes(pair)
    return f"{text}\n\n{changes}" if changes else text


def _contrasts(contrasts: Sequence[Contrast]) -> str:
    rows = [
        (
            _escaped(each.b_name),
            metric_name(each.metric),
            figure(each.metric, each.a),
            figure(each.metric, each.b),
            signed(each.metric, each.difference),
            f"{signed(each.metric, each.low)} to {signed(each.metric, each.high)}",
            _escaped(p_text(each.adjusted)),
        )
        for each in contrasts
    ]
    return _table(("against the baseline", "metric", "baseline", "value", "gap", "95 % interval", "Holm"), rows)


def _seeds(group: SeedGroup) -> str:
    rows = [
        (metric_name(name), figure(name, each.mean), signed(name, each.deviation or 0.0).removeprefix("+"))
        for name, each in group.metrics.items()
    ]
    title = f"{count(len(group.runs), 'seed')} of one recipe: {', '.join(map(_escaped, group.runs))}"
    return f"{title}\n\n{_table(('metric', 'mean', 'standard deviation'), rows)}"


def _changes(pair: RunPair) -> str:
    changes = {**pair.recipe_changes, **pair.environment_changes}
    rows = [
        (_escaped(key), _escaped(setting(each["a"])), _escaped(setting(each["b"]))) for key, each in changes.items()
    ]
    return _folded("Recipe and environment", _table(("key", "A", "B"), rows)) if rows else ""


def _flips(title: str, flips: Sequence[Flip]) -> str:
    rows = [
        tuple(map(_escaped, (flip.path, flip.label, flip.a_predicted, flip.b_predicted))) for flip in flips[:_FLIPS]
    ]
    more = f"\n\nand {len(flips) - _FLIPS} more" if len(flips) > _FLIPS else ""
    shown = _table(("image", "label", "A says", "B says"), rows)
    return _folded(f"{title}: {count(len(flips), 'image')}", shown + more) if flips else ""


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is; names may hold anything."""
    return _SPECIAL.sub(r"\\\1", printable(text))
