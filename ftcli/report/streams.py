"""Owns what a stream can show, the characters of its encoding, and what becomes of streams that show nothing."""

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
    """Send nowhere what a stream still holds and gets: nobody can read it, and Python would try again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_missing_streams() -> None:
    """Open what the caller has closed, of stdout and stderr, so that no other file gets its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end


def marks_for(stream: TextIO, environment: Mapping[str, str]) -> str:
    """Return the marks that a stream can show; none where it lacks them, or NO_COLOR asks for plain text."""
    if environment.get("NO_COLOR"):
        return ""
    return BLOCKS if encodable(BLOCKS, stream) == BLOCKS else ""
