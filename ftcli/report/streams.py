"""Owns what a stream can show: the characters of its encoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

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


def marks_for(stream: TextIO, environment: Mapping[str, str]) -> str:
    """Return the marks that a stream can show; none where it lacks them, or NO_COLOR asks for plain text."""
    if environment.get("NO_COLOR"):
        return ""
    return BLOCKS if encodable(BLOCKS, stream) == BLOCKS else ""
