"""Owns SVG drawings: elements whose texts and attributes are escaped by the library that writes them.

Colours come from the page's style sheet through classes, so that a drawing follows its theme.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from markupsafe import Markup

from ftcli.report.format import printable

Element = ET.Element

_CHARACTER = 6.9
"""About how many pixels a character of a label takes at 12 pixels: generous for most fonts."""


def drawing(width: float, height: float, *, label: str) -> Element:
    """Return an empty drawing of so many pixels; `label` says in words what it shows."""
    attributes = {"viewBox": f"0 0 {_number(width)} {_number(height)}", "role": "img", "aria-label": printable(label)}
    return Element("svg", attributes)


def ornament(width: float, height: float) -> Element:
    """Return an empty drawing of what the text beside it says already."""
    return Element("svg", {"viewBox": f"0 0 {_number(width)} {_number(height)}", "aria-hidden": "true"})


def add(parent: Element, tag: str, *, kind: str | None = None, **attributes: float | str) -> Element:
    """Add an element with a class and attributes; underscores in their names become hyphens."""
    values = {name.replace("_", "-"): _number(value) for name, value in attributes.items()}
    if kind is not None:
        values["class"] = kind
    return ET.SubElement(parent, tag, values)


def write(parent: Element, text: str, x: float, y: float, *, kind: str | None = None, anchor: str = "start") -> Element:
    """Add a line of text whose baseline is at y; anchor is start, middle or end."""
    element = add(parent, "text", kind=kind, x=x, y=y, text_anchor=anchor)
    element.text = printable(text)
    return element


def polyline(parent: Element, points: list[tuple[float, float]], *, kind: str) -> Element:
    """Add a line through points."""
    return add(parent, "polyline", kind=kind, points=" ".join(f"{_number(x)},{_number(y)}" for x, y in points))


def fitted(text: str, width: float) -> str:
    """Return a text cut to about so many pixels, with an ellipsis where it was cut."""
    room = int(width / _CHARACTER)
    text = printable(text)
    if len(text) <= room:
        return text
    return f"{text[: room - 1]}…" if room > 1 else ""


def fits(text: str, width: float) -> bool:
    """Tell whether a text takes no more than about so many pixels."""
    return len(printable(text)) * _CHARACTER <= width


def text_width(text: str) -> float:
    """Return about how many pixels a text takes."""
    return len(printable(text)) * _CHARACTER


def markup(element: Element) -> Markup:
    """Return a drawing for a page, escaped already."""
    return Markup(ET.tostring(element, encoding="unicode"))  # noqa: S704 - the library escapes


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
