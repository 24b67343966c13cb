"""Owns the axes of charts: scales from values to pixels, and ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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
    """Return at most about so many round numbers that enclose low and high, in even steps of 1, 2 or 5."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def epoch_ticks(epochs: int, most: int) -> list[int]:
    """Return at most about so many epochs, the first among them."""
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
