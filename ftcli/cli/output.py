"""Owns what reaches the screen: results on stdout, and where progress goes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ftcli.errors import RunError
from ftcli.report.streams import encodable, let_go, marks_for


def show(result: dict[str, Any] | str) -> None:
    """Print a result on stdout: text, or one JSON object on one line."""
    text = result if isinstance(result, str) else json.dumps(result, allow_nan=False)
    with reaching_a_reader():
        print(encodable(text, sys.stdout))  # noqa: T201 - results go to stdout


@contextmanager
def reaching_a_reader() -> Iterator[None]:
    """Flush stdout at the end. That nobody reads it any more is no error; that it is lost otherwise is a RunError."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        let_go(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise RunError(f"cannot print the result: {error.strerror}") from error


def stderr() -> Any:
    """Return the console for progress."""
    from ftcli.report.progress import Screen

    return Screen(stderr=True)


def width() -> int:
    """Return how many columns text may take."""
    return min(shutil.get_terminal_size().columns, 120)


def marks() -> str:
    """Return what sparklines on stdout are drawn with, if anything."""
    return marks_for(sys.stdout, os.environ)
