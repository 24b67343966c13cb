"""Owns plain text for a screen or a log: tables that fit a width, prose, counts and safe names."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Control characters, those that turn the direction of writing around, and halves of characters.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_NAME = 12
"""Names are given this many columns, or what they need, however narrow the screen is."""

_UNBOUNDED = 10_000


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, numbers_from: int = 1, gap: int = 1
) -> str:
    """Return a table; columns from `numbers_from` on are set flush right and never broken.

    Names are broken to keep to the width, but nothing is left out: where there is no room for the numbers and a
    beginning of every name, the table is wider, and the terminal breaks its lines.
    """
    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="", padding=(0, gap))
    widths = _widths(header, rows, width - 2, numbers_from, gap)
    for position, (name, cells) in enumerate(zip(header, widths, strict=True)):
        number = position >= numbers_from
        grid.add_column(Text(name), justify="right" if number else "left", no_wrap=number, overflow="fold", width=cells)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    screen = io.StringIO()
    Console(file=screen, width=_UNBOUNDED, color_system=None, legacy_windows=False).print(grid)
    lines = screen.getvalue().splitlines()
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, numbers_from: int, gap: int) -> list[int]:
    """Return how wide each column is: as wide as its cells, but for names that must share what is left."""
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    spare = width - (len(header) - 1) * (2 * gap + 1) - sum(widths)
    names = range(min(numbers_from, len(header)))
    while spare < 0 and any(widths[name] > _NAME for name in names):
        widest = max(names, key=lambda name: widths[name])
        widths[widest] -= 1
        spare += 1
    return widths


def prose(text: str, width: int) -> str:
    """Break sentences at a width, but never a word."""
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def count(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: 1 image, 2 images."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def printable(name: str) -> str:
    """Return a name with control characters, turns of direction and undecodable bytes shown as escapes."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), name)
