"""Owns how pages are made: templates that escape whatever they are given, drawings for each width, one strict policy.

Names of files and classes and the text of recipes come from strangers. Every value is escaped by the template engine,
control characters are shown as such, and the page's own policy lets no script run but ours and nothing be loaded.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ftcli import __version__
from ftcli.evaluation.significance import p_text
from ftcli.report import format as wording
from ftcli.report.charts.svg import Element, markup
from ftcli.report.format import count, printable

_TEMPLATES = Path(__file__).parent / "templates"

Draw = Callable[[int], Element]
"""Draws a chart at a width in pixels."""

WHOLE = {"s": 328, "m": 680, "l": 960}
"""The widths of a chart across the page, on a phone, a tablet and a desk."""

HALF = {"s m": 340, "l": 464}
"""The widths of one of two charts that stand side by side where there is room."""


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return a page, complete in itself."""
    script, style = (_file(name) for name in ("sorting.js", "style.css"))
    policy = f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    own = {
        "policy": policy,
        "script": Markup(script),  # noqa: S704 - our own file
        "style": Markup(style),  # noqa: S704 - our own file
        "version": __version__,
    }
    return _environment().get_template(template).render(**context, **own)


def chart(draw: Draw, widths: Mapping[str, int]) -> Markup:
    """Return a chart drawn for each width, of which the style sheet shows the one that fits."""
    drawings = []
    for kind, width in widths.items():
        element = draw(width)
        element.set("class", kind)
        drawings.append(markup(element))
    return Markup("").join(drawings)


def lines(text: str) -> Markup:
    """Return text of several lines for a page; other control characters are shown as escapes."""
    return Markup("\n").join(escape(printable(line)) for line in text.splitlines())


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (
        wording.duration,
        wording.figure,
        wording.gates_met,
        wording.metric_name,
        wording.ranking_text,
        wording.setting,
        wording.share,
        wording.signed,
        wording.unchecked_text,
    )
    environment.globals |= {word.__name__: word for word in (*words, count, p_text)}
    return environment


def _printable(value: Any) -> Any:
    """Show the control characters of a value that is not markup already."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@functools.cache
def _file(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what a content security policy allows this inline text by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
