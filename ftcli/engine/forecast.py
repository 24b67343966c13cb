"""The forecast of a plan: what each phase will store in the cache, and about how long it will take here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.cache.shard import widen
from ftcli.data.class_folders import Sample
from ftcli.data.decoding import decode
from ftcli.data.transforms import Transform, draw, evaluation_transform, training_transform
from ftcli.data.workers import available_cores
from ftcli.engine.device import Compute
from ftcli.engine.extraction import (
    EXTRACTION_BATCH,
    STORED_DTYPE,
    VAL_STORED_DTYPE,
    DataSettings,
    describe,
    row_bytes,
)
from ftcli.engine.inference import to_input
from ftcli.engine.solvers import SOLVERS, Timed, epochs_shown
from ftcli.model.freezing import apply_phase, evaluating
from ftcli.model.network import Network
from ftcli.model.prefix.cut import Cut, NotCut, cut_network
from ftcli.model.prefix.fast import fast_prefix
from ftcli.plan import Phase, Plan

_TIMED_IMAGES = 8


@dataclass(frozen=True)
class Forecast:
    """What a phase will do if nothing of it is in the cache yet.

    `views` are the views of images whose features are computed and stored, 0 where none are. `seconds` is measured on a
    few images, so it is good to a factor of two.
    """

    cached: bool
    views: int
    bytes: int
    seconds: float
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that `plan --json` adds to a phase."""
        return {
            "cached": self.cached,
            "cache_views": self.views,
            "cache_bytes": self.bytes,
            "seconds": round(self.seconds, 4),
            "uncached_because": self.reason,
        }


def forecast_phases(
    network: Network, plan: Plan, settings: DataSettings, *, samples: Mapping[str, Sequence[Sample]], compute: Compute
) -> tuple[Forecast, ...]:
    """Forecast every phase; the network may have any weights."""
    stopwatch = _Stopwatch(network, settings, samples, compute)
    known: set[_View] = set()
    forecasts, first_epoch = [], 1
    for phase in plan.phases:
        SOLVERS[phase.solver].check(network, phase, stopwatch.train_images * settings.different_views)
        forecasts.append(_forecast(stopwatch, phase, first_epoch, known))
        first_epoch += phase.epochs
    return tuple(forecasts)


_View = tuple[str, int | str]
"""What a prefix, by its description, computes: a view of train by its number, or one of the two that follow."""

_VAL, _PLAIN = "val", "train without augmentation"


def _forecast(stopwatch: _Stopwatch, phase: Phase, first_epoch: int, known: set[_View]) -> Forecast:
    """Forecast a phase; `known` are the views that earlier phases store."""
    settings, solver = stopwatch.settings, SOLVERS[phase.solver]
    train, val = stopwatch.train_images, stopwatch.val_images
    off = settings.cache == "off"
    whole = not phase.frozen or (off and not solver.needs_cut)
    cut = NotCut("cache: off") if whole else stopwatch.try_cut(phase)
    if not isinstance(cut, Cut):
        step, score = stopwatch.whole(phase)
        seconds = phase.epochs * (train * step + val * score)
        return Forecast(cached=False, views=0, bytes=0, seconds=seconds, reason=cut.reason if phase.frozen else None)
    per_view, step, score = stopwatch.cut(phase, cut)
    timed = Timed(train, val, step, score)
    solving = solver.seconds(phase, cut, timed, settings.different_views)
    if settings.views == "fresh":
        views, each_epoch, reason = tuple[int, ...](), phase.epochs * train, "data.views: fresh"
    else:
        shown = epochs_shown(phase, first_epoch=first_epoch, views=settings.different_views)
        views, each_epoch, reason = settings.views_of(shown), 0, None
    plain = (_PLAIN,) if solver.needs_cut and settings.augment != "none" else ()
    if off:  # the features are computed for this phase alone
        seconds = (len((*views, *plain)) * train + val) * per_view + solving
        return Forecast(cached=False, views=0, bytes=0, seconds=seconds, reason="cache: off")
    new = {(cut.description, view) for view in (*views, *plain, _VAL)} - known
    known |= new
    augmented = train * sum(isinstance(view, int) for _, view in new)
    scored = val * ((cut.description, _VAL) in new) + train * ((cut.description, _PLAIN) in new)
    return Forecast(
        cached=reason is None,
        views=augmented + scored,
        bytes=augmented * row_bytes(cut, STORED_DTYPE) + scored * row_bytes(cut, VAL_STORED_DTYPE),
        seconds=(augmented + scored + each_epoch) * per_view + solving,
        reason=reason,
    )


class _Stopwatch:
    """Measures, in seconds per image, what phases are made of: the minimum of two runs, after one to warm up."""

    def __init__(
        self, network: Network, settings: DataSettings, samples: Mapping[str, Sequence[Sample]], compute: Compute
    ) -> None:
        self.network = network
        self.settings = settings
        self.train_images, self.val_images = len(samples["train"]), len(samples["val"])
        self._compute = compute
        apart = max(self.train_images // _TIMED_IMAGES, 1)
        chosen = samples["train"][::apart][:_TIMED_IMAGES]
        _, self._load_train = _decoded(training_transform(network.spec, settings.augment), chosen)
        self._transform = evaluation_transform(network.spec)
        images, self._load_val = _decoded(self._transform, chosen)
        self._heads = [network.module.get_submodule(path) for path in network.heads]
        self._batch_size = max(min(settings.batch_size, self.train_images), 2)
        # On a GPU, an image takes less time among many; on a CPU, a few are as good and take less to measure.
        few = compute.device.type == "cpu"
        block, batch = EXTRACTION_BATCH, self._batch_size
        self._block = self._inputs(images, min(block, _TIMED_IMAGES) if few else block)
        self._batch = self._inputs(images, min(batch, _TIMED_IMAGES) if few else batch)

    def try_cut(self, phase: Phase) -> Cut | NotCut:
        """Cut the network as a training does, which checks the cut on two images and describes its prefix."""
        cut = cut_network(self.network, phase.lr)
        if isinstance(cut, Cut):
            describe(cut, self._transform, dtype=STORED_DTYPE, compute=self._compute)
            cut = cut.check(self._block[:2]) or cut
        return cut

    def whole(self, phase: Phase) -> tuple[float, float]:
        """Return the time to decode an image and train the whole network on it, and to decode and score one."""
        apply_phase(self.network, phase.lr)
        images = self._batch
        step = self._load_train + self._timed(lambda: self._step(lambda: self.network.module(images)), len(images))
        with evaluating(self.network):
            return step, self._load_val + self._timed(lambda: self.network.module(images), len(images))

    def cut(self, phase: Phase, cut: Cut) -> tuple[float, float, float]:
        """Return the time to decode a view and pass it through the prefix, to train on its features, to score them."""
        prefix = fast_prefix(cut)
        with torch.no_grad():
            features = tuple(_repeated(widen(each), self._batch_size) for each in prefix(self._block))
            with self._compute.autocast():
                per_view = self._timed(lambda: prefix(self._block), len(self._block))
        apply_phase(self.network, phase.lr)
        step = self._timed(lambda: self._step(lambda: cut.suffix(features)), self._batch_size)
        with evaluating(self.network):
            score = self._timed(lambda: cut.suffix(features), self._batch_size)
        return per_view + self._load_train, step, score

    def _step(self, forward: Callable[[], Tensor]) -> None:
        """Compute gradients as a training step does; no weight moves, so that the network can be used on."""
        with self._compute.autocast(*self._heads):
            logits = forward()
        labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        self.network.module.zero_grad(set_to_none=True)

    def _timed(self, work: Callable[[], object], images: int) -> float:
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            work()
            self._compute.synchronize()  # the kernels of a GPU run on after the call returns
            seconds.append(time.perf_counter() - started)
        return min(seconds[1:]) / images

    def _inputs(self, images: Tensor, count: int) -> Tensor:
        return to_input(_repeated(images, count), self.network, self._compute)


def _repeated(rows: Tensor, count: int) -> Tensor:
    """Return so many rows: the given ones again and again."""
    return rows[torch.arange(count, device=rows.device) % len(rows)]


def _decoded(transform: Transform, samples: Sequence[Sample]) -> tuple[Tensor, float]:
    """Return uint8 images (N, 3, S, S), and the seconds per image that decoding takes on all cores."""
    started = time.perf_counter()
    images = [
        draw(transform, decode(sample.path, minimum_side=transform.minimum_side, name=sample.name), 0)
        for sample in samples
    ]
    return torch.stack(images), (time.perf_counter() - started) / len(samples) / available_cores()
