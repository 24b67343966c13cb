"""Owns fitting the head to convergence on the features that reach it: a linear probe of the frozen network."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ftcli.engine.inference import score_batches
from ftcli.engine.loop import Epoch, Start, Training
from ftcli.engine.sources import CutLogits, PhaseSource
from ftcli.engine.strengths import BYTES_PER_FEATURE, Examples, fit_head
from ftcli.errors import ModelError, NonFiniteLossError, UsageError
from ftcli.evaluation.metrics import quick_metrics
from ftcli.model.freezing import apply_phase, evaluating, fingerprint
from ftcli.model.network import Network
from ftcli.model.prefix.cut import TOLERANCE, Cut, cut_network, deviation
from ftcli.plan import Phase
from ftcli.records import EpochRecord

_TRIED_ROWS = 4


def run_probe(
    network: Network, phase: Phase, source: PhaseSource, *, start: Start, training: Training
) -> Iterator[Epoch]:
    """Fit the head to all views of the training images at once, and yield the one epoch that this is.

    Raises NonFiniteLossError where features are NaN or infinite.
    """
    started = time.perf_counter()
    frozen = fingerprint(network, phase.frozen)
    apply_phase(network, phase.lr)
    assert isinstance(source.logits_of, CutLogits), "the network was cut"
    head = find_head(source.logits_of.cut)
    examples = _gather(source, source.logits_of, phase)
    linear, probe = fit_head(
        examples,
        biased=head.bias is not None,
        seed=training.seed,
        on_fit=lambda done, fits: _tell(training, start.first_epoch, done, fits),
    )
    _write(head, linear.weights, linear.bias)
    assert fingerprint(network, phase.frozen) == frozen, f"frozen groups moved in phase {phase.name}"
    train = _train_figures(head, examples)
    labels, probabilities = score_batches(network, source.validation(), source.val_logits, training.compute)
    val = quick_metrics(labels, probabilities)
    if not math.isfinite(val["loss"]):
        raise _non_finite(phase, "val")
    record = EpochRecord(
        phase=phase.name,
        phase_index=start.index,
        epoch=start.first_epoch,
        lr=phase.lr,
        train_loss=train["loss"],
        train_accuracy=train["accuracy"],
        val=val,
        seconds=time.perf_counter() - started,
        cached=source.cached,
        probe=probe,
    )
    yield Epoch(record, labels, probabilities)


def check_probe(network: Network, phase: Phase, *, rows: int) -> Cut:
    """Return the cut of a phase that fits the head; nothing is computed.

    `rows` is the number of training images times that of their views. Raises ModelError where the head is no linear
    layer on features, and UsageError where they take more memory than there is.
    """
    cut = cut_network(network, phase.lr)
    if not isinstance(cut, Cut):
        raise cannot_probe(network, cut.reason)
    needed = rows * find_head(cut).weight[0].numel() * BYTES_PER_FEATURE
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    if memory is not None and needed > memory:
        raise UsageError(
            f"lbfgs takes {needed / 2**30:.1f} GiB for {rows} views at once, and the machine has {memory / 2**30:.1f}",
            where="data.views",
            hint="Lower data.views, or set strategy.solver to sgd.",
        )
    return cut


def find_head(cut: Cut) -> nn.Linear | nn.Conv2d:
    """Return the head, having tried that the logits are its weights times the features that cross, plus its bias.

    Raises ModelError where they are not.
    """
    network = cut.network
    head = network.module.get_submodule(network.head)
    assert isinstance(head, nn.Linear | nn.Conv2d), "heads are made so"
    inputs = head.weight[0].numel()
    if len(cut.row_shapes) != 1 or math.prod(cut.row_shapes[0]) != inputs:
        shapes = " and ".join(" x ".join(map(str, shape)) for shape in cut.row_shapes)
        raise cannot_probe(network, f"what reaches it is {shapes} numbers of each image, not a row of {inputs}")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_TRIED_ROWS, *cut.row_shapes[0], generator=generator).to(head.weight.device)
    with evaluating(network):
        logits = cut.suffix((rows,))
        expected = nn.functional.linear(rows.flatten(1), head.weight.flatten(1), head.bias)
    if logits.shape != expected.shape or not deviation(logits, expected) <= TOLERANCE:
        raise cannot_probe(network, "the network changes what the head makes of its features")
    return head


def cannot_probe(network: Network, reason: str) -> ModelError:
    """Return the error that says why the head of a network cannot be fitted."""
    return ModelError(
        f"strategy.solver: lbfgs cannot fit the head of this network: {reason}",
        where=network.name,
        hint="Set strategy.solver to sgd, or choose another model.",
    )


def _gather(source: PhaseSource, logits: CutLogits, phase: Phase) -> Examples:
    """Return the features of every view of every training image, in the order of the images."""
    images = len(source.together)
    (shape,) = logits.cut.row_shapes
    features = np.empty((images, source.views, math.prod(shape)), dtype=np.float32)
    labels = np.empty(images, dtype=np.int64)
    for view in range(source.views):
        for batch in source.training(view):
            indices = batch.indices.numpy()
            with torch.no_grad(), logits.compute.autocast():
                (rows,) = logits.features(batch)
            features[indices, view] = rows.flatten(1).float().cpu().numpy()
            labels[indices] = batch.labels.numpy()
    if not np.isfinite(features).all():
        raise _non_finite(phase, "train")
    return Examples(features, labels, np.unique(source.together, return_inverse=True)[1])


def _write(head: nn.Linear | nn.Conv2d, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights).reshape(head.weight.shape))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(bias))


def _train_figures(head: nn.Linear | nn.Conv2d, examples: Examples) -> dict[str, float]:
    """Return loss and accuracy of the head over all views, with the weights as they were rounded into it."""
    weights, bias = (None if tensor is None else tensor.detach().cpu() for tensor in (head.weight, head.bias))
    assert weights is not None
    rows = torch.from_numpy(examples.features).flatten(0, 1)
    logits: Tensor = nn.functional.linear(rows, weights.flatten(1), bias)
    return quick_metrics(examples.labels.repeat(examples.features.shape[1]), logits.double().softmax(dim=1).numpy())


def _tell(training: Training, epoch: int, done: int, fits: int) -> None:
    if training.on_batch is not None:
        training.on_batch(epoch, done, fits)


def _non_finite(phase: Phase, split: str) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"the features of {split} are NaN or infinite in phase {phase.name!r}",
        hint="Look at model.weights: the frozen part makes them from the images alone.",
    )
