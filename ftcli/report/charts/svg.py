"""Make SVG elements and the axes of charts: scales from values to pixels, and ticks at round numbers.

Texts and attributes are escaped by the library that writes them. Colours come from the page's style sheet through
classes, so that a drawing follows its theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from markupsafe import Markup

from ftcli.report.format import printable

Element = ET.Element

_CHARACTER = 6.9
"""Approximate width of a character at 12 pixels: generous for most fonts."""


def drawing(width: float, height: float, *, label: str = "") -> Element:
    """Return an empty drawing of this size in pixels.

    `label` describes it in words; without one, it is hidden where the text next to it says as much.
    """
    described = {"role": "img", "aria-label": printable(label)} if label else {"aria-hidden": "true"}
    return Element("svg", {"viewBox": f"0 0 {_number(width)} {_number(height)}", **described})


def value_axis(picture: Element, marks: Sequence[tuple[float, str]], y: Scale, sides: tuple[float, float]) -> None:
    """Draw a line across for each labelled tick of a vertical scale, between the sides; labels are on the left."""
    for value, label in marks:
        add(picture, "line", kind="grid", x1=sides[0], x2=sides[1], y1=y(value), y2=y(value))
        write(picture, label, sides[0] - 6, y(value) + 4, kind="tick", anchor="end")


def base_axis(picture: Element, marks: Sequence[tuple[float, str]], x: Scale, base: float) -> None:
    """Draw the labelled ticks of a horizontal scale below a baseline."""
    for value, label in marks:
        add(picture, "line", kind="axis", x1=x(value), x2=x(value), y1=base, y2=base + 4)
        write(picture, label, x(value), base + 17, kind="tick", anchor="middle")


def epoch_axis(picture: Element, epochs: int, x: Scale, base: float) -> None:
    """Draw a baseline with its epochs."""
    add(picture, "line", kind="axis", x1=x.start, x2=x.end, y1=base, y2=base)
    marks = [(epoch, str(epoch)) for epoch in epoch_ticks(epochs, int((x.end - x.start) / 36))]
    base_axis(picture, marks, x, base)
    write(picture, "epoch", (x.start + x.end) / 2, base + 33, kind="tick", anchor="middle")


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
    """Return a text cut to about this width in pixels, with an ellipsis where it was cut."""
    room, text = int(width / _CHARACTER), printable(text)
    if len(text) <= room:
        return text
    return f"{text[: room - 1]}…" if room > 1 else ""


def text_width(text: str) -> float:
    """Return the approximate width of a text in pixels."""
    return len(printable(text)) * _CHARACTER


def markup(element: Element) -> Markup:
    """Return a drawing as escaped markup."""
    return Markup(ET.tostring(element, encoding="unicode"))  # noqa: S704 - the library escapes


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` onto pixels from `start` to `end`, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; a range of one value has it in the middle."""
        low, high = self._at(self.low), self._at(self.high)
        share = 0.5 if low == high else (self._at(value) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def value(self, pixel: float) -> float:
        """Return the value at a pixel of an even scale."""
        return self.low + (pixel - self.start) / (self.end - self.start) * (self.high - self.low)

    def _at(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return about `most` round numbers or fewer that enclose low and high, in even steps of 1, 2 or 5."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def epoch_ticks(epochs: int, most: int) -> list[int]:
    """Return about `most` epochs or fewer, the first among them."""
    if epochs <= most:
        return list(range(1, epochs + 1))
    inner = [round(tick) for tick in ticks(0, epochs, most) if 0 < tick <= epochs]
    return [1, *(tick for tick in inner if tick > 1)]


def decades(low: float, high: float) -> list[float]:
    """Return the powers of ten from low to high, at most five of them."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / 5))
    return [10.0**power for power in range(first, last + 1, step)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return the ticks as text, all with the digits that their step needs."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:.{digits}f}" for value in values]


def percent_labels(values: Sequence[float]) -> list[str]:
    """Return ticks between 0 and 1 as percentages."""
    return [f"{label} %" for label in tick_labels([100 * value for value in values])]
