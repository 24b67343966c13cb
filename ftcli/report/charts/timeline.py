"""Draw the timeline of a plan: groups by epochs, rates as colour and number, frozen groups hatched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ftcli.phrases import count
from ftcli.plan import Plan
from ftcli.records import EpochRecord
from ftcli.report.charts import svg
from ftcli.report.charts.curves import Span, spans_of, titles
from ftcli.report.format import rate_text

_ROW, _GAP, _TOP, _SCHEDULE = 24, 2, 26, 34
_FAINTEST, _STRONGEST = 0.12, 0.55  # so that text reads on every rate


@dataclass(frozen=True)
class Row:
    """Neighbouring groups that train alike, and their rate in each phase."""

    groups: tuple[str, ...]
    rates: tuple[float | None, ...]

    @property
    def name(self) -> str:
        """What the row is called."""
        return " … ".join(dict.fromkeys((self.groups[0], self.groups[-1])))


def rows_of(plan: Plan) -> tuple[Row, ...]:
    """Return the groups from the head down to the input, those that train alike as one row."""
    alike = itertools.groupby(plan.groups, lambda group: tuple(phase.lr[group] for phase in plan.phases))
    return tuple(reversed([Row(tuple(groups), rates) for rates, groups in alike]))


def strength(rate: float, rates: Sequence[float]) -> float:
    """Return the opacity of a rate, by its logarithm between the least and the greatest of all rates."""
    low, high = math.log10(min(rates)), math.log10(max(rates))
    share = 1.0 if high == low else (math.log10(rate) - low) / (high - low)
    return _FAINTEST + share * (_STRONGEST - _FAINTEST)


def draw_timeline(plan: Plan, records: Sequence[EpochRecord], width: int) -> svg.Element:
    """Return the phases as they ran, over the epochs that ran, at a width in pixels."""
    rows, spans = rows_of(plan), spans_of(records)
    scheduled = any(phase.solver == "sgd" for phase in plan.phases)
    base = _TOP + len(rows) * (_ROW + _GAP) + (_SCHEDULE if scheduled else 0)
    picture = svg.drawing(width, base + 38, label=_describe(plan, spans))
    widest = max(svg.text_width(row.name) for row in rows) + 10
    left = max(min(widest, 0.36 * width), svg.text_width("schedule") + 10)
    x = svg.Scale(0.5, len(records) + 0.5, left, width - 4)
    _phases(picture, spans, x, base)
    for index, row in enumerate(rows):
        top = _TOP + index * (_ROW + _GAP)
        label = svg.write(picture, svg.fitted(row.name, left - 8), left - 8, top + 16, kind="label", anchor="end")
        svg.add(label, "title").text = row.name
        _cells(picture, plan, row, spans, (x, top))
    if scheduled:
        _schedule(picture, plan, records, (x, base - 6))
    svg.epoch_axis(picture, len(records), x, base)
    return picture


def _describe(plan: Plan, spans: Sequence[Span]) -> str:
    parts = [f"Timeline of the plan {plan.strategy}."]
    for span in spans:
        phase = plan.phases[span.number - 1]
        trained = ", ".join(f"{group} at {rate_text(phase.lr[group], phase)}" for group in phase.trainable)
        epochs = f"epoch {span.first}" if span.first == span.last else f"epochs {span.first} to {span.last}"
        what = f"trains {trained}; {count(len(phase.frozen), 'group')} frozen"
        parts.append(f"Phase {span.number}, {span.name}, {epochs}: {what}.")
    return " ".join(parts)


def _phases(picture: svg.Element, spans: Sequence[Span], x: svg.Scale, base: float) -> None:
    wanted = [f"{span.number} · {span.name}" for span in spans]
    for span, title in zip(spans, titles(spans, wanted, x), strict=True):
        left = x(span.first - 0.5)
        svg.write(picture, title, left + (2 if span.first == 1 else 6), 16, kind="phase")
        if span.first > 1:
            svg.add(picture, "line", kind="boundary", x1=left, x2=left, y1=4, y2=base)


def _cells(picture: svg.Element, plan: Plan, row: Row, spans: Sequence[Span], place: tuple[svg.Scale, float]) -> None:
    x, top = place
    rates = [rate for phase in plan.phases for rate in phase.lr.values() if rate is not None]
    for span in spans:
        phase, rate = plan.phases[span.number - 1], row.rates[span.number - 1]
        left, width = x(span.first - 0.5) + 1, x(span.last + 0.5) - x(span.first - 0.5) - 2
        box = {"x": left, "y": top, "width": max(width, 0.5), "height": _ROW, "rx": 2}
        look = {} if rate is None else {"fill_opacity": strength(rate, rates)}
        svg.add(picture, "rect", kind="frozen" if rate is None else "rate", **look, **box)
        text = rate_text(rate, phase)
        if svg.text_width(text) <= width - 6:
            kind = "cell still" if rate is None else "cell"
            svg.write(picture, text, left + width / 2, top + 16, kind=kind, anchor="middle")


def _schedule(picture: svg.Element, plan: Plan, records: Sequence[EpochRecord], place: tuple[svg.Scale, float]) -> None:
    """Draw each epoch's first rate as a share of its phase's."""
    x, base = place
    svg.write(picture, "schedule", x.start - 8, base - 6, kind="label", anchor="end")
    for record in records:
        phase = plan.phases[record.phase_index]
        if phase.solver == "lbfgs":
            continue
        group = phase.trainable[-1]
        share = (record.lr[group] or 0.0) / (phase.lr[group] or 1.0)
        height = max(share * (_SCHEDULE - 12), 0.7)
        left, right = x(record.epoch - 0.5), x(record.epoch + 0.5)
        gap = min(1.0, (right - left) / 6)
        box = {"x": left + gap, "y": base - height, "width": right - left - 2 * gap, "height": height}
        svg.add(picture, "rect", kind="schedule", **box)
