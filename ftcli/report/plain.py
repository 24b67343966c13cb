"""Render sections as plain text: tables that fit a width, and lines that are never broken.

Everything is text without markup or colour, so that names such as `[red]` stay as they are and a pipe, a log
and a terminal show the same.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ftcli.data.checks.findings import Finding
from ftcli.phrases import count
from ftcli.report.format import gate_text, printable
from ftcli.report.sections import (
    MATRIX_CLASSES,
    Bullets,
    Column,
    Facts,
    Findings,
    Gates,
    Lines,
    Matrix,
    Prose,
    Section,
    Table,
    cell_text,
)

_NAME = 12
"""Names are given this many columns, or what they need, however narrow the screen is."""

_SHORT_NAME = 8
_UNBOUNDED = 10_000
_INDENT = "  "


def as_text(sections: Iterable[Section], *, width: int = 80, title: str = "") -> str:
    """Return sections for a screen or a log, with a blank line between their parts."""
    shown = [_section(each, width) for each in sections if each.parts]
    return "\n\n".join([printable(title), *shown] if title else shown)


def _section(section: Section, width: int) -> str:
    parts = "\n\n".join(text for part in section.parts if (text := _part(part, width)))
    return f"{printable(section.title)}\n{parts}" if section.title else parts


def _part(part: Any, width: int) -> str:
    match part:
        case Section():
            text = _section(part, width) if part.parts else ""
        case Prose(text=paragraph):
            text = wrapped(printable(paragraph), width)
        case Lines(lines=lines):
            text = "\n".join(map(printable, lines))
        case Bullets():
            text = "\n".join(_bullets(part, _INDENT))
        case Facts(rows=rows):
            facts = (f"{printable(name):<8}{printable(fact)}" for name, fact in rows)
            text = "\n".join(textwrap.fill(f"{_INDENT}{fact}", width, subsequent_indent=10 * " ") for fact in facts)
        case Table():
            text = _cut_table(part, width)
        case Matrix():
            text = _matrix(part, width)
        case Gates(gates=gates):
            text = "\n".join(wrapped(gate_text(gate), width) for gate in gates)
        case Findings(findings=findings):
            text = "\n\n".join(_finding(finding, part, width) for finding in findings)
        case _:
            raise TypeError(f"plain text cannot show {type(part).__name__}")
    return text


def wrapped(text: str, width: int) -> str:
    """Break prose at a width, but never a word."""
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _bullets(bullets: Bullets, indent: str) -> list[str]:
    shown = [f"{indent}{printable(item)}" for item in bullets.items[: bullets.most]]
    return [*shown, f"{indent}and {bullets.more:,} more; {bullets.whole} has them all"] if bullets.more else shown


def _finding(finding: Finding, part: Findings, width: int) -> str:
    advice = textwrap.indent(wrapped(printable(finding.advice), width - len(_INDENT)), _INDENT)
    message = wrapped(printable(f"{finding.level} [{finding.code}]: {finding.message}"), width)
    return "\n".join([message, *_bullets(part.cases(finding), 2 * _INDENT), advice])


def _cut_table(part: Table, width: int) -> str:
    """Return the first rows of a table, as a grid or as lines, and how many more there are."""
    rows = [[printable(cell_text(cell)) for cell in row] for row in part.rows[: part.most]]
    more = len(part.rows) - len(rows)
    if part.line:
        shown = "\n".join(f"{_INDENT}{part.line.format(*row)}" for row in rows)
    else:
        shown = grid(part.columns, rows, width)
    return f"{shown}\n{_INDENT}and {more:,} more; --json has them all" if more else shown


def grid(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, gap: int = 1) -> str:
    """Return a table.

    Names are broken to keep to the width, but nothing is left out: where the numbers and a beginning of every name do
    not fit, the table is wider, and the terminal breaks its lines.
    """
    table = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="", padding=(0, gap))
    for column, cells in zip(columns, _widths(columns, rows, width - len(_INDENT), gap), strict=True):
        side: Literal["right", "left"] = "right" if column.number else "left"
        title = Text(printable(column.title))
        table.add_column(title, justify=side, no_wrap=column.number, overflow="fold", width=cells)
    for row in rows:
        table.add_row(*map(Text, row))
    screen = io.StringIO()
    Console(file=screen, width=_UNBOUNDED, color_system=None, legacy_windows=False).print(table)
    return "\n".join(f"{_INDENT}{line}".rstrip() for line in screen.getvalue().splitlines())


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, gap: int) -> list[int]:
    """Return how wide each column is: as wide as its cells, but names share the room that numbers leave."""
    titles = [printable(column.title) for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(titles, *rows, strict=True)]
    spare = width - (len(columns) - 1) * (2 * gap + 1) - sum(widths)
    names = [index for index, column in enumerate(columns) if not column.number]
    while spare < 0 and any(widths[name] > _NAME for name in names):
        widths[max(names, key=lambda name: widths[name])] -= 1
        spare += 1
    return widths


def _matrix(part: Matrix, width: int) -> str:
    """Return the confusion matrix where it is small and fits, else the pairs that are confused most."""
    if len(part.classes) <= MATRIX_CLASSES:
        names = [printable(name) for name in part.classes]
        numbers = [str(number) for number in range(1, len(names) + 1)]
        numbered = [f"{number}: {name}" for number, name in zip(numbers, names, strict=True)]
        short = max(map(cell_len, names)) <= _SHORT_NAME
        for head, side in ((names, names), (numbers, numbered)) if short else ((numbers, numbered),):
            rows = [[name, *map(str, counts)] for name, counts in zip(side, part.counts, strict=True)]
            columns = [Column(""), *(Column(name, number=True) for name in head)]
            shown = grid(columns, rows, _UNBOUNDED, gap=0)
            if max(map(cell_len, shown.splitlines())) <= width:
                return f"Confusion matrix: rows are true classes, columns predicted ones\n{shown}"
    if not part.pairs.rows:
        return "No class was confused with another."
    return f"Most confused ({count(len(part.pairs.rows), 'pair')})\n{_cut_table(part.pairs, width)}"
