"""Owns saying beforehand what each phase will keep in the cache and about how long it will take on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.data.class_folders import Sample
from ftcli.data.decoding import decode
from ftcli.data.transforms import draw, evaluation_transform, training_transform
from ftcli.data.workers import available_cores
from ftcli.engine.device import Compute
from ftcli.engine.extraction import STORED_DTYPE, VAL_STORED_DTYPE, fixed_views, row_bytes, views_of_epochs
from ftcli.engine.logistic import fitting_seconds
from ftcli.engine.probe import check_probe
from ftcli.engine.sources import to_input
from ftcli.model.freezing import apply_phase, evaluating
from ftcli.model.network import Network
from ftcli.model.prefix.cut import Cut, cut_network
from ftcli.model.prefix.fast import fast_prefix
from ftcli.plan import Phase, Plan
from ftcli.recipe.keys import DataSection

_TIMED_IMAGES = 8


@dataclass(frozen=True)
class Forecast:
    """What a phase will do if nothing of it is in the cache yet.

    `views` are the views of images whose features are computed and kept, 0 where none are; `seconds` is measured on a
    few images, so it is good to a factor of two.
    """

    cached: bool
    views: int
    bytes: int
    seconds: float
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return fields that `plan --json` adds to a phase."""
        return {
            "cached": self.cached,
            "cache_views": self.views,
            "cache_bytes": self.bytes,
            "seconds": round(self.seconds, 4),
            "uncached_because": self.reason,
        }


def forecast_phases(
    network: Network, plan: Plan, section: DataSection, *, samples: Mapping[str, Sequence[Sample]], compute: Compute
) -> tuple[Forecast, ...]:
    """Forecast every phase; the network may have any weights."""
    clock = _Clock(network, section, samples, compute)
    forecasts: list[Forecast] = []
    known: set[str] = set()
    first_epoch = 1
    for phase in plan.phases:
        if phase.solver == "lbfgs":
            forecasts.append(_forecast_probe(clock, phase))
            continue
        forecasts.append(_forecast(clock, phase, range(first_epoch, first_epoch + phase.epochs), known))
        first_epoch += phase.epochs
    return tuple(forecasts)


def _forecast(clock: _Clock, phase: Phase, epochs: range, known: set[str]) -> Forecast:
    train, val = len(clock.samples["train"]), len(clock.samples["val"])
    if clock.section.cache == "off" or not phase.frozen:
        reason = "cache: off" if phase.frozen else None
        seconds = len(epochs) * (train * clock.whole_step(phase) + val * clock.whole_score())
        return Forecast(cached=False, views=0, bytes=0, seconds=seconds, reason=reason)
    cut = cut_network(clock.network, phase.lr)
    if not isinstance(cut, Cut):
        seconds = len(epochs) * (train * clock.whole_step(phase) + val * clock.whole_score())
        return Forecast(cached=False, views=0, bytes=0, seconds=seconds, reason=cut.reason)
    per_view, step, score = clock.cut(phase, cut)
    fresh = clock.section.views == "fresh"
    stored = () if fresh else views_of_epochs(clock.section, epochs)
    names = {f"{cut.description} {view}" for view in stored} - known
    new_val = 0 if cut.description in known else val
    known |= {*names, cut.description}
    new_train = len(names) * train
    views = new_train + new_val
    seconds = views * per_view + len(epochs) * (train * (step + per_view * fresh) + val * score)
    return Forecast(
        cached=not fresh,
        views=views,
        bytes=new_train * row_bytes(cut, STORED_DTYPE) + new_val * row_bytes(cut, VAL_STORED_DTYPE),
        seconds=seconds,
        reason="data.views: fresh" if fresh else None,
    )


def _forecast_probe(clock: _Clock, phase: Phase) -> Forecast:
    """Forecast a phase that fits the head: the features of all views once, even where they are not kept."""
    rows, val = len(clock.samples["train"]) * fixed_views(clock.section), len(clock.samples["val"])
    cut = check_probe(clock.network, phase, rows=rows)
    per_view, _, _ = clock.cut(phase, cut)
    (inputs,) = (math.prod(shape) for shape in cut.row_shapes)
    cached = clock.section.cache != "off"
    views = rows + val if cached else 0
    return Forecast(
        cached=cached,
        views=views,
        bytes=(rows * row_bytes(cut, STORED_DTYPE) + val * row_bytes(cut, VAL_STORED_DTYPE)) if cached else 0,
        seconds=(rows + val) * per_view + fitting_seconds(rows, inputs=inputs, classes=len(clock.network.classes)),
        reason=None if cached else "cache: off",
    )


class _Clock:
    """Measures, in seconds per image, what the phases are made of."""

    def __init__(
        self, network: Network, section: DataSection, samples: Mapping[str, Sequence[Sample]], compute: Compute
    ) -> None:
        self.network = network
        self.section = section
        self.samples = samples
        self._compute = compute
        images, self._load_train, self._load_val = self._decoded()
        self._input = to_input(images, network, compute)

    def whole_step(self, phase: Phase) -> float:
        """Return the time to decode an image and train the whole network on it."""
        apply_phase(self.network, phase.lr)
        return self._load_train + self._timed(lambda: self._train(lambda: self.network.module(self._input)))

    def whole_score(self) -> float:
        """Return the time to decode an image and score it with the whole network."""
        with evaluating(self.network):
            return self._load_val + self._timed(lambda: self.network.module(self._input))

    def cut(self, phase: Phase, cut: Cut) -> tuple[float, float, float]:
        """Return the time of a view through the prefix, decoding in, and of training and scoring its features."""
        prefix = fast_prefix(cut)
        with torch.no_grad():
            features = prefix(self._input)
            per_view = self._timed(lambda: prefix(self._input))
        apply_phase(self.network, phase.lr)
        step = self._timed(lambda: self._train(lambda: cut.suffix(features)))
        with evaluating(self.network):
            score = self._timed(lambda: cut.suffix(features))
        return per_view + self._load_train, step, score

    def _train(self, forward: Callable[[], Tensor]) -> None:
        with self._compute.autocast():
            logits = forward()
            labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
            loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        self.network.module.zero_grad(set_to_none=True)

    def _timed(self, work: Callable[[], object]) -> float:
        """Return the seconds per image of work on the timed images, the quicker of two goes after a first."""
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            work()
            if self._compute.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        return min(seconds[1:]) / len(self._input)

    def _decoded(self) -> tuple[Tensor, float, float]:
        """Return uint8 images (N, 3, S, S), and the seconds per image to decode and draw for train and for val."""
        spec, cores = self.network.spec, available_cores()
        chosen = self.samples["train"][:: max(len(self.samples["train"]) // _TIMED_IMAGES, 1)][:_TIMED_IMAGES]
        seconds = []
        images: list[Tensor] = []
        for transform in (training_transform(spec, self.section.augment), evaluation_transform(spec)):
            started = time.perf_counter()
            images = [
                draw(transform, decode(sample.path, minimum_side=transform.minimum_side, name=sample.name), 0)
                for sample in chosen
            ]
            seconds.append((time.perf_counter() - started) / len(chosen) / cores)
        return torch.stack(images), seconds[0], seconds[1]
