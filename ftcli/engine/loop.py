"""Owns the training loop: a generator of epochs that opens no file and prints nothing.

Whoever drives it writes, prints and checkpoints; early stopping is a `break`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ftcli.engine.device import Compute
from ftcli.engine.inference import BatchT, score_batches
from ftcli.engine.optimizers import (
    make_optimizer,
    optimizer_tensors,
    rate_factor,
    restore_optimizer,
    set_rates,
)
from ftcli.errors import NonFiniteLossError
from ftcli.evaluation.resampling import quick_metrics
from ftcli.model.freezing import apply_phase, standing_still
from ftcli.model.network import Network
from ftcli.plan import Phase
from ftcli.recipe.keys import Optimizer, Schedule
from ftcli.records import EpochRecord
from ftcli.rng import stable_seed


class Source(Protocol[BatchT]):
    """What a phase learns from: batches, and how a batch becomes logits."""

    @property
    def cached(self) -> bool:
        """Whether the frozen prefix was computed beforehand."""

    @property
    def steps_per_epoch(self) -> int:
        """Training batches in an epoch."""

    def training(self, epoch: int, /) -> Iterable[BatchT]:
        """Yield the training batches of an epoch, in its order."""

    def validation(self) -> Iterable[BatchT]:
        """Yield every validation image once, in order."""

    def logits(self, batch: BatchT, /) -> Tensor:
        """Return (N, classes) of a training batch, on the device."""

    def val_logits(self, batch: BatchT, /) -> Tensor:
        """Return (N, classes) of a validation batch, on the device."""


@dataclass(frozen=True)
class Training:
    """What every phase of one run shares. `on_batch` hears of each finished batch: (epoch, batch, batches)."""

    optimizer: Optimizer
    schedule: Schedule
    compute: Compute
    seed: int
    label_smoothing: float = 0.0
    clip_grad_norm: float | None = None
    on_batch: Callable[[int, int, int], None] | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """Where in the run a phase starts: `index` counts phases from 0, `first_epoch` epochs from 1 over the whole run.

    A phase that was interrupted starts after `epochs_done` of its epochs, with what its optimizer then remembered.
    """

    index: int
    first_epoch: int
    epochs_done: int = 0
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Epoch:
    """One finished epoch: its record, and the val probabilities (N, classes) that its val figures come from.

    `optimizer` is what the optimizer remembers; it changes with the next epoch.
    """

    record: EpochRecord
    val_labels: NDArray[np.int64]
    val_probabilities: NDArray[np.float64]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Sums:
    """Sums over the training images of one epoch."""

    loss: float
    correct: int
    images: int


def run_phase(
    network: Network, phase: Phase, source: Source[BatchT], *, start: Start, training: Training
) -> Iterator[Epoch]:
    """Train one phase, or what is left of it.

    Raises NonFiniteLossError, before any weight has moved by it, when the loss is NaN or infinite. The frozen groups
    are hashed before the phase and after it, also after one that is left early.
    """
    optimizer = make_optimizer(network, phase.lr, training.optimizer)
    restore_optimizer(optimizer, network, start.optimizer)
    with standing_still(network, phase.frozen):
        for offset in range(start.epochs_done, phase.epochs):
            epoch, started = start.first_epoch + offset, time.perf_counter()
            torch.manual_seed(stable_seed(training.seed, "epoch", epoch))
            apply_phase(network, phase.lr)
            rates = _rates_at_start(phase, training.schedule, offset, source.steps_per_epoch)
            place = _Place(phase, epoch, offset)
            sums = _train_epoch(source, optimizer, place=place, training=training)
            labels, probabilities = score_batches(network, source.validation(), source.val_logits, training.compute)
            val = quick_metrics(labels, probabilities)
            if not math.isfinite(val["loss"]):
                raise _non_finite(val["loss"], optimizer, place, "validation")
            record = EpochRecord(
                phase=phase.name,
                phase_index=start.index,
                epoch=epoch,
                lr=rates,
                train_loss=sums.loss / sums.images,
                train_accuracy=sums.correct / sums.images,
                val=val,
                seconds=time.perf_counter() - started,
                cached=source.cached,
            )
            yield Epoch(record, labels, probabilities, optimizer_tensors(optimizer, network))


@dataclass(frozen=True)
class _Place:
    """Where in the run an epoch stands; `offset` counts the phase's epochs from 0."""

    phase: Phase
    epoch: int
    offset: int


def _train_epoch(
    source: Source[BatchT], optimizer: torch.optim.Optimizer, *, place: _Place, training: Training
) -> _Sums:
    loss_sum, correct, images = 0.0, 0, 0
    steps = source.steps_per_epoch
    trained = [tensor for entry in optimizer.param_groups for tensor in entry["params"]]
    for number, batch in enumerate(source.training(place.epoch)):
        factor = rate_factor(
            training.schedule,
            step=place.offset * steps + number,
            steps_per_epoch=steps,
            epochs=place.phase.epochs,
        )
        set_rates(optimizer, factor)
        labels = batch.labels.to(training.compute.device, non_blocking=True)
        with training.compute.autocast():
            logits = source.logits(batch)
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=training.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise _non_finite(value, optimizer, place, f"batch {number + 1}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        if training.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(trained, training.clip_grad_norm)
        optimizer.step()
        loss_sum += value * len(labels)
        correct += int((logits.argmax(dim=1) == labels).sum())
        images += len(labels)
        if training.on_batch is not None:
            training.on_batch(place.epoch, number + 1, steps)
    return _Sums(loss_sum, correct, images)


def _rates_at_start(phase: Phase, schedule: Schedule, offset: int, steps: int) -> dict[str, float | None]:
    factor = rate_factor(schedule, step=offset * steps, steps_per_epoch=steps, epochs=phase.epochs)
    return {group: None if rate is None else rate * factor for group, rate in phase.lr.items()}


def _non_finite(value: float, optimizer: torch.optim.Optimizer, place: _Place, when: str) -> NonFiniteLossError:
    rates = {entry["name"]: float(f"{entry['lr']:.3g}") for entry in optimizer.param_groups}
    return NonFiniteLossError(
        f"the loss became {value} in phase {place.phase.name!r}, epoch {place.epoch}, {when}, "
        f"at the rates {', '.join(f'{group}: {rate}' for group, rate in rates.items())}",
        hint="Lower strategy.lr, or set clip_grad_norm: 1. The best epoch so far is kept in the run directory.",
    )
