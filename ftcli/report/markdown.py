"""Owns Markdown as GitHub reads it: tables, what is folded away, and names that show as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftcli.report.format import printable

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
