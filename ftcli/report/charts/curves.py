"""Draw line charts over epochs: loss, accuracy, with the phases' boundaries and the best epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftcli.phrases import count
from ftcli.records import EpochRecord
from ftcli.report.charts import svg

HEIGHT = 260
_TOP, _BOTTOM, _LEFT = 30, 38, 46
_LEAST_SHARES = 0.05
_MARKED = 15  # with more epochs, points have no marks


@dataclass(frozen=True)
class Curve:
    """Values of epochs 1, 2, ...; `kind` picks colour and dashes, and `best` is the epoch with a ring around it."""

    name: str
    kind: str
    values: tuple[float, ...]
    best: int | None = None


@dataclass(frozen=True)
class Span:
    """A phase as it ran: its number, counted from 1, its name, and its first and last epoch."""

    number: int
    name: str
    first: int
    last: int


@dataclass(frozen=True)
class CurveChart:
    """Curves over one axis: shares as percentages, or numbers from zero."""

    title: str
    curves: tuple[Curve, ...]
    spans: tuple[Span, ...] = ()
    shares: bool = False

    @property
    def epochs(self) -> int:
        """The epochs of the longest curve."""
        return max(len(curve.values) for curve in self.curves)


def spans_of(records: Sequence[EpochRecord]) -> tuple[Span, ...]:
    """Return the phases of a run as they ran."""
    epochs: dict[int, list[EpochRecord]] = {}
    for record in records:
        epochs.setdefault(record.phase_index, []).append(record)
    return tuple(Span(index + 1, each[0].phase, each[0].epoch, each[-1].epoch) for index, each in epochs.items())


def titles(spans: Sequence[Span], wanted: Sequence[str], x: svg.Scale) -> list[str]:
    """Return the titles of the phases: the wanted ones if all fit, else their numbers, else nothing."""
    rooms = [x(span.last + 0.5) - x(span.first - 0.5) - 8 for span in spans]
    for texts in (wanted, [str(span.number) for span in spans]):
        if all(svg.text_width(text) <= room for text, room in zip(texts, rooms, strict=True)):
            return list(texts)
    return [""] * len(spans)


def draw_curves(chart: CurveChart, width: int) -> svg.Element:
    """Return the chart at a width in pixels."""
    picture = svg.drawing(width, HEIGHT, label=describe(chart))
    right = 16 + max(svg.text_width(curve.name) for curve in chart.curves)
    x = svg.Scale(0.5, chart.epochs + 0.5, _LEFT, width - right)
    y, labels = _vertical(chart)
    svg.value_axis(picture, labels, y, (_LEFT, width - right))
    svg.epoch_axis(picture, chart.epochs, x, HEIGHT - _BOTTOM)
    _boundaries(picture, chart.spans, x)
    for curve in chart.curves:
        _line(picture, curve, x, y)
    _names(picture, chart.curves, x, y)
    best = [curve for curve in chart.curves if curve.best is not None and math.isfinite(curve.values[curve.best - 1])]
    for curve in best:
        assert curve.best is not None
        place = {"cx": x(curve.best), "cy": y(curve.values[curve.best - 1])}
        svg.add(picture, "circle", kind=f"ring {curve.kind}", r=6, **place)
    if len(best) == 1:  # the names of two would lie on one another
        _best(picture, chart, best[0], (x, y))
    return picture


def describe(chart: CurveChart) -> str:
    """Return what a chart shows, in words."""
    parts = [f"{chart.title} over {count(chart.epochs, 'epoch')}."]
    for curve in chart.curves:
        first, last = (_value(chart, value) for value in (curve.values[0], curve.values[-1]))
        best = f", {_value(chart, curve.values[curve.best - 1])} in the best epoch, {curve.best}" if curve.best else ""
        parts.append(f"{curve.name}: from {first} to {last}{best}.")
    return " ".join(parts)


def _value(chart: CurveChart, value: float) -> str:
    return f"{100 * value:.1f} %" if chart.shares else f"{value:.3f}"


def _vertical(chart: CurveChart) -> tuple[svg.Scale, list[tuple[float, str]]]:
    """Return the vertical scale and its labelled ticks; values that are not finite are ignored."""
    values = [value for curve in chart.curves for value in curve.values if math.isfinite(value)] or [0.0]
    low, high = (min(values), max(values)) if chart.shares else (0.0, max(values) or 1.0)
    if chart.shares:  # a narrower axis would make much of one image
        low = max(0.0, min(low, high - _LEAST_SHARES))
    marks = svg.ticks(low, high, 6)
    if chart.shares:
        marks = [mark for mark in marks if -1e-9 <= mark <= 1 + 1e-9]
    scale = svg.Scale(marks[0], marks[-1], HEIGHT - _BOTTOM, _TOP)
    return scale, list(zip(marks, (svg.percent_labels if chart.shares else svg.tick_labels)(marks), strict=True))


def _boundaries(picture: svg.Element, spans: Sequence[Span], x: svg.Scale) -> None:
    """Draw a line where each phase but the first begins, and name the phases where there is room."""
    if len(spans) < 2:
        return
    for span, title in zip(spans, titles(spans, [span.name for span in spans], x), strict=True):
        left = x(span.first - 0.5)
        if span.first > 1:
            svg.add(picture, "line", kind="boundary", x1=left, x2=left, y1=8, y2=HEIGHT - _BOTTOM)
        svg.write(picture, title, left + 6, 17, kind="phase")


def _line(picture: svg.Element, curve: Curve, x: svg.Scale, y: svg.Scale) -> None:
    points = [(x(i), y(value)) for i, value in enumerate(curve.values, start=1) if math.isfinite(value)]
    if len(points) > 1:
        svg.polyline(picture, points, kind=f"line {curve.kind}")
    if len(curve.values) <= _MARKED:
        for left, top in points:
            svg.add(picture, "circle", kind=f"mark {curve.kind}", cx=left, cy=top, r=2.6)


def _names(picture: svg.Element, curves: Sequence[Curve], x: svg.Scale, y: svg.Scale) -> None:
    """Write each curve's name next to its end, without overlaps."""
    lasts = [(curve.values[-1], curve) for curve in curves]
    ends = sorted((y(last) if math.isfinite(last) else y.end, curve.name, curve.kind) for last, curve in lasts)
    taken = -math.inf
    for top, name, kind in ends:
        taken = max(top, taken + 15)
        svg.write(picture, name, x.end + 10, taken + 4, kind=f"name {kind}")


def _best(picture: svg.Element, chart: CurveChart, curve: Curve, scales: tuple[svg.Scale, svg.Scale]) -> None:
    """Write the best value above or below its ring, wherever fewer lines pass."""
    assert curve.best is not None
    x, y = scales
    value = curve.values[curve.best - 1]
    top, text = y(value), f"best {_value(chart, value)}"
    half = svg.text_width(text) / 2
    middle = min(max(x(curve.best), x.start + half), x.end - half)
    epochs = np.linspace(x.value(middle - half), x.value(middle + half), 25)
    paths = [np.interp(epochs, np.arange(1, len(each.values) + 1), each.values).tolist() for each in chart.curves]

    def crossings(band: tuple[float, float]) -> int:
        return sum(band[0] <= y(value) <= band[1] for path in paths for value in path)

    above = crossings((top - 26, top - 8)) if top - 30 > 0 else math.inf
    below = crossings((top + 8, top + 28)) if top + 28 < y.start else math.inf
    baseline = top - 12 if above <= below else top + 22
    svg.write(picture, text, middle, baseline, kind=f"best {curve.kind}", anchor="middle")
