"""Draw the charts of predictions: reliability, intervals, the confusion of many classes, and the fit of a probe."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.evaluation.calibration import CalibrationBin
from ftcli.evaluation.compare.differences import Difference
from ftcli.phrases import count
from ftcli.records import Interval, ProbeRecord
from ftcli.report.charts import svg

_LEFT, _TOP = 52, 12


def draw_reliability(bins: Sequence[CalibrationBin], width: int) -> svg.Element:
    """Return accuracy by confidence with intervals, above the number of images in each bin."""
    side = min(width - _LEFT - 14, 340)
    x, y = svg.Scale(0, 1, _LEFT, _LEFT + side), svg.Scale(0, 1, _TOP + side, _TOP)
    strip = 58
    base = _TOP + side + 14 + strip
    described = (
        f"{count(each.images, 'image')} with {100 * each.confidence:.0f} % confidence: "
        f"{100 * each.accuracy.value:.0f} % right"
        for each in bins
    )
    label = f"Reliability diagram. {'; '.join(described)}."
    picture = svg.drawing(_LEFT + side + 14, base + 38, label=label)
    values = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    marks = list(zip(values, svg.percent_labels(values), strict=True))
    svg.value_axis(picture, marks, y, (x(0), x(1)))
    svg.base_axis(picture, marks, x, base)
    svg.add(picture, "line", kind="ideal", x1=x(0), y1=y(0), x2=x(1), y2=y(1))
    svg.add(picture, "line", kind="axis", x1=x(0), x2=x(1), y1=y(0), y2=y(0))
    svg.write(picture, "accuracy", x(0) + 6, y(1) + 12, kind="tick")
    svg.write(picture, "confidence", x(0.5), base + 33, kind="tick", anchor="middle")
    points = [(x(each.confidence), y(each.accuracy.value)) for each in bins]
    for each, (left, top) in zip(bins, points, strict=True):
        svg.add(picture, "line", kind="whisker a", x1=left, x2=left, y1=y(each.accuracy.low), y2=y(each.accuracy.high))
        svg.add(picture, "circle", kind="dot a", cx=left, cy=top, r=4)
    _histogram(picture, bins, x, svg.Scale(0, max(each.images for each in bins), base, base - strip + 14))
    return picture


def _histogram(picture: svg.Element, bins: Sequence[CalibrationBin], x: svg.Scale, y: svg.Scale) -> None:
    svg.add(picture, "line", kind="axis", x1=x(0), x2=x(1), y1=y(0), y2=y(0))
    for each in bins:
        left, right = x(each.above) + 1, x(each.up_to) - 1
        svg.add(picture, "rect", kind="bar", x=left, y=y(each.images), width=right - left, height=y(0) - y(each.images))
        svg.write(picture, str(each.images), (left + right) / 2, y(each.images) - 3, kind="small", anchor="middle")
    svg.write(picture, "images", x(0) + 6, y.end + 2, kind="tick")


def draw_whisker(interval: Interval, low: float, high: float) -> svg.Element:
    """Return an interval with its value as a dot, for a table's cell, between low and high."""
    picture = svg.drawing(320, 16)
    x = svg.Scale(low, high, 5, 315)
    svg.add(picture, "line", kind="grid", x1=5, x2=315, y1=8, y2=8)
    svg.add(picture, "line", kind="whisker a", x1=x(interval.low), x2=x(interval.high), y1=8, y2=8)
    svg.add(picture, "circle", kind="dot a", cx=x(interval.value), cy=8, r=4)
    return picture


def draw_bar(interval: Interval) -> svg.Element:
    """Return a share of 1 as a bar with its interval as a line, for a table's cell of any width."""
    picture = svg.drawing(100, 10)
    picture.set("preserveAspectRatio", "none")
    svg.add(picture, "rect", kind="track", x=0, y=0, width=100, height=10)
    svg.add(picture, "rect", kind="bar", x=0, y=0, width=100 * interval.value, height=10)
    width = 100 * (interval.high - interval.low)
    svg.add(picture, "rect", kind="reach", x=100 * interval.low, y=4.2, width=width, height=1.6)
    return picture


def draw_differences(rows: Sequence[tuple[str, Difference]], title: str, width: int) -> svg.Element:
    """Return differences of shares, each with a name, and their intervals in points about zero."""
    reach = max(0.01, *(abs(bound) for _, each in rows for bound in (each.low, each.high)))
    marks = svg.ticks(-reach, reach, 9 if width > 500 else 5)
    left, row = 130, 30
    base = 8 + row * len(rows)
    said = (
        f"{name} {100 * each.difference:+.1f} ({100 * each.low:+.1f} to {100 * each.high:+.1f})" for name, each in rows
    )
    picture = svg.drawing(width, base + 38, label=f"{title}, with 95 % intervals: {'; '.join(said)}.")
    x = svg.Scale(marks[0], marks[-1], left, width - 16)
    for value, text in zip(marks, svg.tick_labels([100 * mark for mark in marks]), strict=True):
        zero = abs(value) < 1e-9
        svg.add(picture, "line", kind="zero" if zero else "grid", x1=x(value), x2=x(value), y1=4, y2=base)
        shown = "0" if zero else text if value < 0 else f"+{text}"
        svg.write(picture, shown, x(value), base + 15, kind="tick", anchor="middle")
    svg.write(picture, title, x(0), base + 33, kind="tick", anchor="middle")
    for index, (name, each) in enumerate(rows):
        top = 8 + row * index + row / 2
        svg.write(picture, svg.fitted(name, left - 12), left - 12, top + 4, kind="label", anchor="end")
        svg.add(picture, "line", kind="whisker a", x1=x(each.low), x2=x(each.high), y1=top, y2=top)
        svg.add(picture, "circle", kind="dot a", cx=x(each.difference), cy=top, r=4.5)
    return picture


def draw_confusion(confusion: Sequence[Sequence[int]], width: int) -> svg.Element:
    """Return the matrix as a picture: a cell for every pair of classes that has images, rows are true classes."""
    classes, images = len(confusion), [max(sum(row), 1) for row in confusion]
    right = sum(row[index] for index, row in enumerate(confusion))
    label = f"Confusion matrix of {classes} classes: {right} of {sum(map(sum, confusion))} images on the diagonal."
    picture = svg.drawing(width, width, label=label)
    size = (width - 30) / classes
    svg.add(picture, "rect", kind="frame", x=24, y=24, width=width - 30, height=width - 30)
    svg.write(picture, "predicted class", 24 + (width - 30) / 2, 15, kind="tick", anchor="middle")
    side = svg.write(picture, "true class", 0, 0, kind="tick", anchor="middle")
    side.set("transform", f"translate(15 {24 + (width - 30) / 2:.1f}) rotate(-90)")
    for true, row in enumerate(confusion):
        for predicted, number in enumerate(row):
            if number:
                kind, least = ("hit", 0.3) if true == predicted else ("miss", 0.55)
                opacity = least + (1 - least) * number / images[true]
                place = {"x": 24 + size * predicted, "y": 24 + size * true, "width": size, "height": size}
                svg.add(picture, "rect", kind=kind, fill_opacity=opacity, **place)
    return picture


def draw_trials(probe: ProbeRecord, width: int) -> svg.Element:
    """Return the held-out log loss of each L2 strength that was tried, the chosen one ringed."""
    height, trials = 240, sorted(probe.trials, key=lambda trial: trial.strength)
    losses = [trial.log_loss for trial in trials]
    marks = svg.ticks(max(0.0, min(losses) - 0.3 * (max(losses) - min(losses))), max(losses), 5)
    strengths = (trials[0].strength, trials[-1].strength)
    x = svg.Scale(*strengths, _LEFT + 10, width - 24, logarithmic=True)
    y = svg.Scale(marks[0], marks[-1], height - 40, 14)
    chosen = next(trial for trial in trials if trial.strength == probe.strength)
    label = f"Held-out log loss by L2 strength: least, {chosen.log_loss:.3f}, at {chosen.strength:.2g}."
    picture = svg.drawing(width, height, label=label)
    svg.value_axis(picture, list(zip(marks, svg.tick_labels(marks), strict=True)), y, (_LEFT, width - 14))
    svg.add(picture, "line", kind="axis", x1=_LEFT, x2=width - 14, y1=height - 40, y2=height - 40)
    svg.base_axis(picture, [(value, f"{value:g}") for value in svg.decades(*strengths)], x, height - 40)
    svg.write(picture, "L2 strength", (_LEFT + width - 14) / 2, height - 6, kind="tick", anchor="middle")
    points = [(x(trial.strength), y(trial.log_loss)) for trial in trials]
    svg.polyline(picture, points, kind="line a")
    for left, top in points:
        svg.add(picture, "circle", kind="mark a", cx=left, cy=top, r=2.6)
    left, top = x(chosen.strength), y(chosen.log_loss)
    svg.add(picture, "circle", kind="ring a", cx=left, cy=top, r=6)
    svg.write(picture, f"chosen {chosen.strength:.2g}", left, top + 23, kind="best a", anchor="middle")
    return picture
