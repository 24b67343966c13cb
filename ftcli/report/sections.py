"""What a result shows: sections of prose, lists and tables, which text, Markdown and HTML render.

A result has one function that makes its sections (report/text/X.py for `ftcli X`). Nothing in them is escaped or broken
into lines: `plain`, `markdown` and `html.page` do that. Parts that only a page can show are in `html.page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ftcli.data.checks.findings import Finding
from ftcli.records import Gate
from ftcli.report.format import case_text, share

MATRIX_CLASSES = 20
"""With more classes, a confusion matrix is too wide for a screen."""


@dataclass(frozen=True)
class Prose:
    """A paragraph. `tone` is soft, hint or alert; with `code`, a page shows what is between backticks as code."""

    text: str
    tone: str = ""
    code: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines that are never broken, such as paths; a page shows them as code."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Bullets:
    """The first `most` items of a list; `whole` names the file or option with the others. A page sets paths smaller."""

    items: tuple[str, ...]
    most: int | None = None
    whole: str = "--json"
    path: bool = False

    @property
    def more(self) -> int:
        """The number of items that are not shown."""
        return 0 if self.most is None else max(0, len(self.items) - self.most)


@dataclass(frozen=True)
class Facts:
    """Names, each with a text; in a page's `headline`, each with a value and a remark."""

    rows: tuple[tuple[str, ...], ...]
    headline: bool = False


class Cell(NamedTuple):
    """A table's cell whose column sorts by `value`; `css` is its class on a page."""

    text: str
    value: float | str | None = None
    css: str = ""


Row = Sequence[str | Cell]


@dataclass(frozen=True)
class Column:
    """A column: numbers are set flush right and never broken.

    On a page `sort` is the direction that a first click sorts in, up or down, `by` the one it is sorted in already, and
    `kind` what its cells hold: name, code or path. `css` is the class of its cells.
    """

    title: str
    number: bool = False
    sort: str = ""
    by: str = ""
    kind: str = ""
    css: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; a page's `caption` is for screen readers.

    Where `line` is given, text shows each row in this form, such as "{0}: {1} -> {2}". Of long tables, text shows the
    first `most` rows and Markdown the first `most_folded`. A page bolds the row number `best`, scrolls a `tall` table
    and stretches all but a `narrow` one.
    """

    columns: tuple[Column, ...]
    rows: Sequence[Row]
    caption: str = ""
    line: str = ""
    most: int | None = None
    most_folded: int | None = None
    best: int | None = None
    tall: bool = False
    narrow: bool = False

    def with_columns(self, at: int, columns: Sequence[Column], cells: Sequence[Row]) -> Table:
        """Return the table with more columns before column `at`, and their cells for each row."""
        rows = [[*row[:at], *more, *row[at:]] for row, more in zip(self.rows, cells, strict=True)]
        return replace(self, columns=(*self.columns[:at], *columns, *self.columns[at:]), rows=rows)


def share_cell(value: float | None) -> Cell:
    """Return a share as a percentage that sorts by its value."""
    return Cell(share(value), value)


def cell_text(cell: str | Cell) -> str:
    """Return what a cell shows."""
    return cell if isinstance(cell, str) else cell.text


def texts(*titles: str, **more: Any) -> tuple[Column, ...]:
    """Return columns of text."""
    return tuple(Column(title, **more) for title in titles)


def numbers(*titles: str, **more: Any) -> tuple[Column, ...]:
    """Return columns of numbers."""
    return tuple(Column(title, number=True, **more) for title in titles)


@dataclass(frozen=True)
class Matrix:
    """Images by true class (rows) and predicted class (columns), or, where these are too many, the confused pairs."""

    classes: tuple[str, ...]
    counts: Sequence[Sequence[int]]
    pairs: Table


@dataclass(frozen=True)
class Gates:
    """Rules, whether each holds, and why."""

    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class Findings:
    """What was found in a dataset, each finding with its first `most` cases; see `Bullets`."""

    findings: tuple[Finding, ...]
    most: int
    whole: str

    def cases(self, finding: Finding) -> Bullets:
        """Return the cases of one of the findings."""
        cases = tuple(case_text(case, sign=finding.sign) for case in finding.cases)
        return Bullets(cases, self.most, self.whole, path=True)


@dataclass(frozen=True)
class Section:
    """A title and parts, further sections among them; without parts it is not shown.

    A `folded` one opens on a click where that is possible. Markdown begins with the `verdict`, and text ends with it.
    Neighbours with `halves` are side by side on a page with room for them.
    """

    title: str
    parts: tuple[Any, ...]
    id: str = ""
    folded: bool = False
    verdict: bool = False
    halves: bool = False


def prose(*paragraphs: str, tone: str = "") -> tuple[Prose, ...]:
    """Return the paragraphs that say anything."""
    return tuple(Prose(text, tone) for text in paragraphs if text)
