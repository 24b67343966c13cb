"""Owns the findings of a look at a dataset as plain text: what it holds, what is wrong, and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from ftcli.data.checks.contents import Contents, Histograms
from ftcli.data.checks.findings import Case, Finding, files_text, with_level
from ftcli.data.checks.look_alikes import MIN_POOL, Embeddings
from ftcli.report.format import count, printable, prose, table

_CLASS_ROWS = 20
_CASES = 8
_INDENT = "  "
_SAY_SO_THEMSELVES = {"not-compared", "cache-unread"}


def check_text(
    root: str,
    contents: Contents | None,
    findings: Sequence[Finding],
    *,
    embeddings: Embeddings | None = None,
    width: int = 80,
) -> str:
    """Return what a dataset holds and what was found in it, the gravest first."""
    parts = [printable(root)]
    if contents is not None:
        cut = "" if contents.val_fraction is None else f"\n{_INDENT}val is cut from train: {contents.val_fraction:.0%}"
        parts += [_class_table(contents.splits, width) + cut]
        parts += [] if contents.histograms is None else [_histograms(contents.histograms, width)]
    parts += [_finding(finding, width) for finding in with_level(findings, "error", "warning", "info")]
    if embeddings is not None:
        known = f"whose features of {count(len(embeddings.directions), 'image')} are in the cache"
        few = f"look-alikes are not sought among fewer than {MIN_POOL} images"
        how = f"Splits were compared by perceptual hash and by what {embeddings.model} sees, {known}; {few}."
        parts.append(prose(printable(how), width))
    elif contents is not None and not _SAY_SO_THEMSELVES & {finding.code for finding in findings}:
        how = "Splits were compared by perceptual hash alone, which finds no crops; these are sought once a run with a "
        parts.append(prose(f"{how}frozen body was trained on the images.", width))
    return "\n\n".join([*parts, _verdict(findings)])


def _class_table(splits: Mapping[str, Mapping[str, int]], width: int) -> str:
    classes = list(next(iter(splits.values())))
    # The rarest first: where not all can be shown, these are the ones to know of.
    classes.sort(key=lambda name: splits["train"][name])
    shown = classes[:_CLASS_ROWS] if len(classes) > _CLASS_ROWS else list(next(iter(splits.values())))
    rows = [(printable(name), *(f"{counts[name]:,}" for counts in splits.values())) for name in shown]
    if len(classes) > len(shown):
        rows.append((f"{len(classes) - len(shown):,} larger ones", *("" for _ in splits)))
    if len(classes) > 1:
        rows.append(("all", *(f"{sum(counts.values()):,}" for counts in splits.values())))
    return table(("class", *splits), rows, width)


def _histograms(shown: Histograms, width: int) -> str:
    turned = sum(images for orientation, images in shown.orientation.items() if orientation != "1")
    lines = [
        (
            "size",
            f"median {shown.median_width:,} x {shown.median_height:,}; shorter side {_counts(shown.shorter_side)}",
        ),
        ("mode", _counts(shown.mode)),
        ("format", _counts(shown.format)),
        ("EXIF", f"{count(turned, 'image')} turned or mirrored" if turned else "all images upright"),
    ]
    return "\n".join(
        textwrap.fill(f"{name:<8}{text}", width, initial_indent=_INDENT, subsequent_indent=_INDENT + 8 * " ")
        for name, text in lines
    )


def _counts(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {images:,}" for name, images in values.items())


def _finding(finding: Finding, width: int) -> str:
    lines = [prose(printable(f"{finding.level} [{finding.code}]: {finding.message}"), width)]
    lines += [f"{2 * _INDENT}{case_text(case, sign=finding.sign)}" for case in finding.cases[:_CASES]]
    if len(finding.cases) > _CASES:
        lines.append(f"{2 * _INDENT}and {len(finding.cases) - _CASES:,} more; --json has them all")
    lines.append(textwrap.indent(prose(printable(finding.advice), width - len(_INDENT)), _INDENT))
    return "\n".join(lines)


def case_text(case: Case, *, sign: str = "=") -> str:
    """Return the files of a case, the first of many or of each split, and what is to be said of them.

    `sign` stands between files.
    """
    if case.splits:
        places = ", ".join(f"{split} ({_first(names)})" for split, names in case.by_split.items())
        return printable(f"{case.note}: {places}")
    parts = files_text(case.files, sign=sign), case.note or ""
    return ": ".join(printable(part) for part in parts if part)


def _first(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"


def _verdict(findings: Sequence[Finding]) -> str:
    errors, warnings = len(with_level(findings, "error")), len(with_level(findings, "warning"))
    if not errors and not warnings:
        return "Nothing wrong was found."
    return f"{count(errors, 'error')}, {count(warnings, 'warning')}."
