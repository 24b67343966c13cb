"""The training loop: a generator of epochs that opens no file and prints nothing.

Its caller writes, prints and saves checkpoints; early stopping is a `break`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ftcli.engine.device import Compute, restore_scaler, scaler_tensors
from ftcli.engine.inference import score_batches
from ftcli.engine.optimizers import make_optimizer, optimizer_tensors, rate_factor, restore_optimizer, set_rates
from ftcli.engine.phase_data import PhaseData
from ftcli.errors import NonFiniteLossError
from ftcli.evaluation.resampling import quick_metrics
from ftcli.model.freezing import BatchNormMode, apply_phase, standing_still
from ftcli.model.network import Network
from ftcli.plan import Phase
from ftcli.recipe.keys import Optimizer, Schedule
from ftcli.records import EpochRecord
from ftcli.rng import stable_seed

ARITHMETIC = 2
"""Raise it with any change of ftcli's own code that gives a training of the same recipe and seed other weights.

Each run records the number it began with, and `resume` refuses a run with another one; a run without a number has 1. A
test compares the weights of a small training with those recorded for this number.
"""


@dataclass(frozen=True)
class TrainSettings:
    """How a run's phases are trained.

    `on_batch` is called with (epoch, batch, batches) after each batch, `exhausted_after` before each epoch: it returns
    after how many epochs the phase's patience was exhausted, None before.
    """

    optimizer: Optimizer
    schedule: Schedule
    compute: Compute
    seed: int
    label_smoothing: float = 0.0
    clip_grad_norm: float | None = None
    batchnorm: BatchNormMode = "train"
    on_batch: Callable[[int, int, int], None] | None = None
    exhausted_after: Callable[[], int | None] = lambda: None


@dataclass(frozen=True, eq=False)
class Start:
    """Where in the run a phase starts: `index` counts phases from 0, `first_epoch` epochs from 1 over the whole run.

    A phase that was interrupted continues after `epochs_done` of its epochs, with the state of its `optimizer` and
    loss scaler.
    """

    index: int
    first_epoch: int
    epochs_done: int = 0
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Epoch:
    """A finished epoch: its record, and the val probabilities (N, classes) that its val metrics come from.

    `optimizer` is the state of the optimizer and of the loss scaler; it changes with the next epoch.
    """

    record: EpochRecord
    val_probabilities: NDArray[np.float64]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


def train_phase(
    network: Network, phase: Phase, data: PhaseData, *, start: Start, settings: TrainSettings
) -> Iterator[Epoch]:
    """Train a phase by gradient steps, or what is left of it.

    Raises NonFiniteLossError, before any weight has moved by it, when the loss is NaN or infinite. The frozen groups
    are hashed before and after the phase, even when it is left early.
    """
    weights = _Weights(network, phase, settings, start.optimizer)
    with standing_still(network, phase.frozen):
        for offset in range(start.epochs_done, phase.epochs):
            epoch, started = start.first_epoch + offset, time.perf_counter()
            # Dropout depends on (seed, epoch) alone, so that a resumed run draws what an uninterrupted one drew.
            torch.manual_seed(stable_seed(settings.seed, "epoch", epoch))
            apply_phase(network, phase.lr, batchnorm=settings.batchnorm)
            factor_at = partial(
                rate_factor,
                settings.schedule,
                steps_per_epoch=data.steps_per_epoch,
                epochs=phase.epochs,
                exhausted_after=settings.exhausted_after(),
            )
            factors = [factor_at(step=offset * data.steps_per_epoch + step) for step in range(data.steps_per_epoch)]
            train_loss, train_log_loss, train_accuracy = _train_epoch(phase, data, weights, epoch, factors, settings)
            probabilities, val = score_val(network, data)
            if not math.isfinite(val["loss"]):
                raise _non_finite(val["loss"], weights, phase, epoch, "validation")
            record = EpochRecord(
                phase=phase.name,
                phase_index=start.index,
                epoch=epoch,
                lr={group: None if rate is None else rate * factors[0] for group, rate in phase.lr.items()},
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                val=val,
                seconds=time.perf_counter() - started,
                cached=data.cached,
                train_log_loss=train_log_loss,
            )
            yield Epoch(record, probabilities, weights.state())


def score_val(network: Network, data: PhaseData) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Return the probabilities (N, classes) of the val images, and their metrics."""
    probabilities = np.concatenate(list(score_batches(network, data.val_batches(), data.val_forward)))
    return probabilities, quick_metrics(data.val_labels.numpy(), probabilities)


class _Weights:
    """The weights that a phase trains, and what moves them: the optimizer, and the loss scaler of fp16."""

    def __init__(self, network: Network, phase: Phase, settings: TrainSettings, saved: Mapping[str, Tensor]) -> None:
        self.optimizer = make_optimizer(network, phase.lr, settings.optimizer)
        self._network = network
        self._scaler = settings.compute.loss_scaler()
        self._clip = settings.clip_grad_norm
        self._trained = [tensor for entry in self.optimizer.param_groups for tensor in entry["params"]]
        restore_optimizer(self.optimizer, network, restore_scaler(self._scaler, saved))

    def state(self) -> dict[str, Tensor]:
        """Return what a resume restores."""
        return optimizer_tensors(self.optimizer, self._network) | scaler_tensors(self._scaler)

    def step(self, loss: Tensor) -> None:
        """Move the weights by the gradients of a loss, unless they overflow in fp16; then the next scale is lower."""
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        if self._clip is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._trained, self._clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()


def _train_epoch(
    phase: Phase, data: PhaseData, weights: _Weights, epoch: int, factors: Sequence[float], settings: TrainSettings
) -> tuple[float, float, float]:
    """Take the steps of one epoch, each at its factor of the rates; return loss, log loss and accuracy over its images.

    The log loss is that of the labels as they are, where the loss is that of smoothed ones.
    """
    loss_sum, log_loss_sum, correct, images = 0.0, 0.0, 0, 0
    for number, batch in enumerate(data.train_batches(epoch)):
        set_rates(weights.optimizer, factors[number])
        labels = settings.compute.copy(data.labels[batch.indices])
        logits = data.forward(batch)
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):  # checked before the step, so that the weights stay those of the last good one
            raise _non_finite(value, weights, phase, epoch, f"batch {number + 1}")
        weights.step(loss)
        loss_sum += value * len(labels)
        if settings.label_smoothing:
            value = nn.functional.cross_entropy(logits.detach(), labels).item()
        log_loss_sum += value * len(labels)
        correct += int((logits.argmax(dim=1) == labels).sum())
        images += len(labels)
        if settings.on_batch is not None:
            settings.on_batch(epoch, number + 1, len(factors))
    return loss_sum / images, log_loss_sum / images, correct / images


def _non_finite(value: float, weights: _Weights, phase: Phase, epoch: int, when: str) -> NonFiniteLossError:
    rates = {entry["name"]: float(f"{entry['lr']:.3g}") for entry in weights.optimizer.param_groups}
    return NonFiniteLossError(
        f"the loss became {value} in phase {phase.name!r}, epoch {epoch}, {when}, "
        f"at the rates {', '.join(f'{group}: {rate}' for group, rate in rates.items())}",
        hint="Lower strategy.lr, or set clip_grad_norm: 1; if precision is fp16, try fp32. "
        "The best epoch so far is kept in the run directory.",
    )
