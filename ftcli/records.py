"""Plain values that the parts of ftcli exchange: input spec, epoch records, metrics, summaries, progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
"""The version of every JSON object that ftcli writes or prints."""

_LARGEST_SIDE = 10_000
"""Pixels beyond which a side is taken for damage: no network wants it, and no memory would hold it."""

_Record = TypeVar("_Record")

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
        return replace(self, image_size=image_size, resize_size=resize_size)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> InputSpec:
        """Read a spec's fields. Raises ValueError for anything else."""
        spec = checked(cls, value)
        if not (0 < spec.image_size <= _LARGEST_SIDE and 0 < spec.resize_size <= _LARGEST_SIDE):
            raise ValueError(f"images of {spec.image_size} pixels, resized to {spec.resize_size}")
        if 0 in spec.std:
            raise ValueError("std: is zero")
        return spec


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


Metrics = Mapping[str, Interval]


@dataclass(frozen=True)
class StrengthTrial:
    """An L2 strength and its log loss on held-out train images without augmentation, in nats."""

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


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did. `epoch` counts from 1 over the whole run; a rate of None is a frozen group.

    `train_loss` is what was minimised, with smoothed labels where the recipe asks for them; `train_log_loss` is that of
    the labels as they are, as in `val`, and None in runs of earlier versions. `seconds` is the time to train and to
    score val; `features_seconds` the time before that to open the phase's data and compute its missing features.
    """

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
    train_log_loss: float | None = None
    features_seconds: float = 0.0

    @property
    def comparable_train_loss(self) -> float:
        """The train loss that can be compared with val's."""
        return self.train_loss if self.train_log_loss is None else self.train_log_loss

    def to_json(self) -> dict[str, Any]:
        """Return one line of metrics.jsonl."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: object) -> EpochRecord:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        check_schema(value)
        return checked(cls, value)


@dataclass(frozen=True)
class Gate:
    """One rule about one metric of one run, or of replicates: whether it holds, and why.

    `p_value` is that of the rule's test, adjusted where several runs or metrics share the rule; None where it has none.
    """

    rule: str
    metric: str
    run: str
    holds: bool
    sentence: str
    p_value: float | None = None


@dataclass(frozen=True)
class RunSummary:
    """How a run ended: the best epoch, its metrics with intervals, and what it cost.

    `skipped_images` counts the images of train and val that were left out because they cannot be used. `gates` are
    what the recipe expects of the validation images, and `unchecked` names what it expects of others.
    """

    best_epoch: int
    epochs: int
    monitor: str
    metrics: Metrics
    images: int
    seconds: float
    images_per_second: float
    notices: tuple[str, ...] = ()
    skipped_images: int = 0
    gates: tuple[Gate, ...] = ()
    unchecked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return summary.json."""
        return {"schema": SCHEMA, **asdict(self)}


class Progress(Protocol):
    """What a command reports while it works: to a terminal, to a log, or nowhere."""

    def notice(self, text: str) -> None:
        """Warn the user."""

    def stage(self, text: str) -> None:
        """Report what is being done next."""

    def step(self, what: str, done: int, total: int | None) -> None:
        """Report how far it is; without a total, that it takes a while."""

    def epoch(self, record: EpochRecord, *, epochs: int, best: bool) -> None:
        """Report a finished epoch of a plan with so many `epochs`."""


def check_schema(value: object) -> None:
    """Raise ValueError if a JSON value is not an object, or has a version that this ftcli does not read."""
    if not isinstance(value, Mapping):
        raise ValueError("not a JSON object")  # noqa: TRY004 - damage to a file, not a bug
    # The first lines of metrics.jsonl that were ever written name no version.
    if (version := value.get("schema", SCHEMA)) != SCHEMA:
        raise ValueError(f"has schema {version}; this ftcli reads schema {SCHEMA}")


def checked(kind: type[_Record], value: object) -> _Record:
    """Return a record of this kind from plain JSON data, every type checked; unknown fields are left out.

    Raises ValueError naming the field that is wrong.
    """
    from pydantic import ValidationError

    try:
        record: _Record = _adapter(kind).validate_json(  # type: ignore[arg-type] # a type can be hashed
            json.dumps(value, allow_nan=False), strict=True
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error
    return record


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # a tenth of a second, where nothing is read back

    return TypeAdapter(kind)
