"""What a stream can show, and what to do with streams that are closed.

Apart from `progress`, which needs rich: errors and results are printed without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import IO, TextIO

BLOCKS = "▁▂▃▄▅▆▇█"
"""The marks of a sparkline, from its least value to its greatest."""

_RULE = "\u2500"  # of the tables


def encodable(text: str, stream: TextIO) -> str:
    """Return what a stream can print: dashes for the rules of tables, escapes for other foreign characters."""
    encoding = stream.encoding or "utf-8"
    try:
        _RULE.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace(_RULE, "-")
    return text.encode(encoding, "backslashreplace").decode(encoding)


def let_go(stream: IO[str]) -> None:
    """Discard what a broken stream still holds and gets; otherwise Python would try to write it at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_missing_streams() -> None:
    """Open stdout and stderr where the caller has closed them, so that no other file takes their numbers."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end


def marks_for(stream: TextIO, environment: Mapping[str, str]) -> str:
    """Return the marks of sparklines; none where the stream cannot show them or NO_COLOR asks for plain text."""
    if environment.get("NO_COLOR"):
        return ""
    return BLOCKS if encodable(BLOCKS, stream) == BLOCKS else ""
