"""Owns what `ftcli compare` found as plain text: two runs in full, more of them as a table, and the gates."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.evaluation.compare.result import Contrast, Findings, RunPair, SeedGroup
from ftcli.evaluation.significance import p_text
from ftcli.records import Gate
from ftcli.report.comparisons import changes_text, pair_text, verdict
from ftcli.report.format import count, printable, prose, table
from ftcli.report.seeds import spread_table
from ftcli.report.wording import difference_cells, metric_name, pending_text


def findings_text(findings: Findings, *, width: int = 80) -> str:
    """Return what was found for reading; what is not trained yet comes first, gates last."""
    parts = [prose(printable(pending_text(each)), width) for each in findings.pending]
    if len(findings.pairs) == 1:
        parts += [pair_text(findings.pairs[0], width=width)]
    else:
        parts += [_runs(findings), _contrast_table(findings.contrasts, width), *_pairs(findings, width)]
    parts += [seeds_text(group, width=width) for group in findings.groups if len(group.runs) > 1]
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
            *difference_cells(each.metric, each),
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


def side_text(group: SeedGroup) -> str:
    """Return what a group is called where groups are compared, and that its figures are means."""
    runs = len(group.runs)
    return f"{group.name}, the mean of {runs} seeds" if runs > 1 else group.name


def seeds_text(group: SeedGroup, *, width: int = 80) -> str:
    """Return several seeds of one recipe as one result: mean and standard deviation of every metric."""
    return f"{seeds_title(group)}\n{spread_table(group.metrics, width)}"


def seeds_title(group: SeedGroup) -> str:
    """Return which runs are seeds of one recipe."""
    return f"{count(len(group.runs), 'seed')} of one recipe: {', '.join(map(printable, group.runs))}"
