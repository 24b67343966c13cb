"""Draw charts as PNG files with matplotlib (the extra `plots`).

Pages do not use matplotlib: it takes a second to import, has no dark mode, and its text cannot be selected. It draws
the same `CurveChart` and bins here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftcli.errors import UsageError
from ftcli.evaluation.calibration import CalibrationBin
from ftcli.report.charts.curves import CurveChart
from ftcli.report.charts.svg import epoch_ticks, percent_labels, ticks
from ftcli.report.format import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"a": "#0a5fa5", "b": "#b4530a"}
_SOFT, _GRID = "#586069", "#e6e8ea"
_DOTS_PER_INCH = 160


def curves_picture(charts: Sequence[CurveChart]) -> bytes:
    """Return charts over epochs side by side as a PNG. Raises UsageError without matplotlib."""
    figure = _figure((6.2 * len(charts), 3.9))
    for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        _draw(axes, chart)
    return _png(figure)


def reliability_picture(bins: Sequence[CalibrationBin]) -> bytes:
    """Return a reliability diagram as a PNG. Raises UsageError without matplotlib."""
    figure = _figure((4.8, 4.8))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_SOFT, linestyle=(0, (5, 4)), linewidth=1)
    accuracy = [each.accuracy for each in bins]
    reach = [[each.value - each.low for each in accuracy], [each.high - each.value for each in accuracy]]
    confidence, right = [each.confidence for each in bins], [each.value for each in accuracy]
    axes.errorbar(confidence, right, yerr=reach, fmt="o", color=_COLOURS["a"], markersize=5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy", title="Reliability")
    _style(axes)
    return _png(figure)


def _draw(axes: Axes, chart: CurveChart) -> None:
    for curve in chart.curves:
        epochs = range(1, len(curve.values) + 1)
        dashes = "--" if curve.kind == "b" else "-"
        marker = "o" if len(curve.values) <= 15 else ""
        label = printable(curve.name).replace("$", r"\$")  # matplotlib would read a formula
        axes.plot(epochs, curve.values, dashes, color=_COLOURS[curve.kind], marker=marker, markersize=3, label=label)
        if curve.best is not None:
            best = curve.values[curve.best - 1]
            axes.plot([curve.best], [best], "o", markersize=9, markerfacecolor="none", color=_COLOURS[curve.kind])
    for span in chart.spans[1:]:
        axes.axvline(span.first - 0.5, color=_SOFT, linestyle=":", linewidth=1)
    if chart.shares:
        values = [value for curve in chart.curves for value in curve.values]
        marks = [mark for mark in ticks(min(values), max(values), 6) if 0 <= mark <= 1 + 1e-9]
        axes.set_yticks(marks, percent_labels(marks))
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="epoch", title=chart.title, xlim=(0.5, chart.epochs + 0.5))
    axes.set_xticks(epoch_ticks(chart.epochs, 10))
    axes.legend(frameon=False)
    _style(axes)


def _style(axes: Axes) -> None:
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=_SOFT)


def _figure(inches: tuple[float, float]) -> Figure:
    try:
        from matplotlib.figure import Figure as New
    except ImportError as error:
        raise UsageError(
            "PNG files need matplotlib, which is not installed",
            where="--png",
            hint="Install the extra: pip install 'ftcli[plots]'.",
        ) from error
    return New(figsize=inches, layout="constrained")


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
    return file.getvalue()
