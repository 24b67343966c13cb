"""Owns the plain values that travel between the parts of ftcli: input spec, epoch records, metrics, summaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = 1
"""The version of every JSON object that ftcli writes or prints."""

LOWER_IS_BETTER = frozenset({"log_loss", "ece"})
"""The metrics that are better when they are lower; of all others more is better."""

Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class InputSpec:
    """How a network wants its images: everything between a decoded RGB image and the network's input.

    `image_size` is the side of the square input and `resize_size` the shorter side before the centre crop, both in
    pixels; `mean` and `std` apply to channels scaled to 0..1. With `squash`, images are resized to the square
    regardless of their aspect ratio, and nothing is cropped.
    """

    image_size: int
    resize_size: int
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    squash: bool = False

    def resized(self, image_size: int) -> InputSpec:
        """Return the same spec at another image size, keeping the ratio of resize to crop."""
        resize_size = round(image_size * self.resize_size / self.image_size)
        return InputSpec(image_size, resize_size, self.interpolation, self.mean, self.std, self.squash)

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> InputSpec:
        """Read what `to_json` wrote."""
        known = {**value, "mean": tuple(value["mean"]), "std": tuple(value["std"])}
        return cls(**known)


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return {"value", "low", "high"}."""
        return asdict(self)


Metrics = Mapping[str, Interval]


def metrics_to_json(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Return the METRICS shape: name to value, low and high."""
    return {name: interval.to_json() for name, interval in metrics.items()}


@dataclass(frozen=True)
class StrengthTrial:
    """An L2 strength and its log loss on held-out train images, in nats."""

    strength: float
    log_loss: float


@dataclass(frozen=True)
class ProbeRecord:
    """How a head was fitted to convergence.

    It has the least mean log loss plus strength / 2 times the sum of its squared weights, for features divided by
    their root mean square about their means. `trials` are what cross-validation over `folds` of train chose from, and
    `slope` is the largest partial derivative that was left.
    """

    strength: float
    folds: int
    trials: tuple[StrengthTrial, ...]
    iterations: int
    slope: float

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProbeRecord:
        """Read what became of it in the JSON of an epoch."""
        return cls(**{**value, "trials": tuple(StrengthTrial(**trial) for trial in value["trials"])})


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did. `epoch` counts from 1 over the whole run; a rate of None is a frozen group."""

    phase: str
    phase_index: int
    epoch: int
    lr: Mapping[str, float | None]
    train_loss: float
    train_accuracy: float
    val: Mapping[str, float]
    seconds: float
    cached: bool = False
    probe: ProbeRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """Return one line of metrics.jsonl."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EpochRecord:
        """Read what `to_json` wrote."""
        probe = value.get("probe")
        return cls(**{**value, "probe": None if probe is None else ProbeRecord.from_json(probe)})


@dataclass(frozen=True)
class RunSummary:
    """How a run ended: the best epoch, its metrics with intervals, and what it cost."""

    best_epoch: int
    epochs: int
    monitor: str
    metrics: Metrics
    images: int
    seconds: float
    images_per_second: float
    notices: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return summary.json."""
        return {"schema": SCHEMA, **asdict(self), "metrics": metrics_to_json(self.metrics)}
