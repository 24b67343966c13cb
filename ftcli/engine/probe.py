"""The linear probe: the head of a frozen network, fitted to convergence on the features that reach it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ftcli.engine.logistic import BYTES_PER_FEATURE, Examples, fit_head
from ftcli.engine.loop import Epoch, Start, TrainSettings, score_val
from ftcli.engine.phase_data import PhaseData
from ftcli.errors import ModelError, NonFiniteLossError, UsageError
from ftcli.evaluation.resampling import quick_metrics
from ftcli.model.freezing import apply_phase, evaluating, fingerprint
from ftcli.model.network import Network
from ftcli.model.prefix.cut import TOLERANCE, Cut, cut_network, deviation
from ftcli.phrases import count, listed, size
from ftcli.plan import Phase
from ftcli.records import EpochRecord

_TRIED_ROWS = 4


def fit_phase(
    network: Network, phase: Phase, data: PhaseData, *, start: Start, settings: TrainSettings
) -> Iterator[Epoch]:
    """Fit the head to all views of the training images at once, and yield the one epoch that this is.

    Raises NonFiniteLossError where features are NaN or infinite, and ModelError where the network is not cut.
    """
    started = time.perf_counter()
    frozen = fingerprint(network, phase.frozen)
    apply_phase(network, phase.lr)
    if not isinstance(data.cut, Cut):
        raise _cannot_fit(network, data.cut.reason)
    head = find_head(data.cut)
    examples = _gather(data, data.cut, phase)

    def on_fit(done: int, fits: int) -> None:
        if settings.on_batch is not None:
            settings.on_batch(start.first_epoch, done, fits)

    linear, probe = fit_head(examples, biased=head.bias is not None, seed=settings.seed, on_fit=on_fit)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(linear.weights).reshape(head.weight.shape))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(linear.bias))
    assert fingerprint(network, phase.frozen) == frozen, f"frozen groups moved in phase {phase.name}"
    train = _train_metrics(head, examples)
    probabilities, val = score_val(network, data)
    if not math.isfinite(val["loss"]):
        raise _non_finite(phase, "val")
    record = EpochRecord(
        phase=phase.name,
        phase_index=start.index,
        epoch=start.first_epoch,
        lr=phase.lr,
        train_loss=train["loss"],
        train_log_loss=train["loss"],
        train_accuracy=train["accuracy"],
        val=val,
        seconds=time.perf_counter() - started,
        cached=data.cached,
        probe=probe,
    )
    yield Epoch(record, probabilities)


def check_probe(network: Network, phase: Phase, rows: int) -> Cut:
    """Return the cut of a phase that fits the head, before anything expensive is computed.

    `rows` is the number of training images times their views. Raises ModelError where the head is not a linear layer on
    features, and UsageError where these need more memory than the machine has.
    """
    cut = cut_network(network, phase.lr)
    if not isinstance(cut, Cut):
        raise _cannot_fit(network, cut.reason)
    needed = rows * find_head(cut).weight[0].numel() * BYTES_PER_FEATURE
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    if memory is not None and needed > memory:
        raise UsageError(
            f"lbfgs needs {size(needed)} for {count(rows, 'view')} at once; this machine has {size(memory)}",
            where="data.views",
            hint="Lower data.views, or set strategy.solver to sgd.",
        )
    return cut


def find_head(cut: Cut) -> nn.Linear | nn.Conv2d:
    """Return the head, after a check that the logits are its weights times what crosses the cut, plus its bias.

    Raises ModelError where they are not.
    """
    network = cut.network
    if len(network.heads) > 1:
        raise _cannot_fit(network, f"it has {len(network.heads)} classifiers: {listed(network.heads)}")
    head = network.module.get_submodule(network.heads[0])
    assert isinstance(head, nn.Linear | nn.Conv2d), "heads are made so"
    inputs = head.weight[0].numel()
    if len(cut.row_shapes) != 1 or math.prod(cut.row_shapes[0]) != inputs:
        shapes = " and ".join(" x ".join(map(str, shape)) for shape in cut.row_shapes)
        raise _cannot_fit(network, f"its input is {shapes} numbers per image, not a row of {inputs}")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_TRIED_ROWS, *cut.row_shapes[0], generator=generator).to(head.weight.device)
    with evaluating(network):
        logits = cut.suffix((rows,))
        expected = nn.functional.linear(rows.flatten(1), head.weight.flatten(1), head.bias)
    if logits.shape != expected.shape or not deviation(logits, expected) <= TOLERANCE:
        raise _cannot_fit(network, "the network changes the output of its head")
    return head


def _cannot_fit(network: Network, reason: str) -> ModelError:
    return ModelError(
        f"strategy.solver: lbfgs cannot fit the head of this network: {reason}",
        where=network.name,
        hint="Set strategy.solver to sgd, or choose another model.",
    )


def _gather(data: PhaseData, cut: Cut, phase: Phase) -> Examples:
    """Return the features of every view of every training image, in the order of the images."""
    assert data.features is not None, "a cut network has features"
    (shape,) = cut.row_shapes
    features = np.empty((len(data.labels), data.views, math.prod(shape)), dtype=np.float32)
    for view in range(data.views):  # epoch v shows view v of every image, in an order of its own
        for batch in data.train_batches(view):
            with torch.no_grad():
                (rows,) = data.features(batch)
            features[batch.indices.numpy(), view] = rows.flatten(1).float().cpu().numpy()
    plain = features[:, 0]
    if data.plain_batches is not None:
        plain = np.empty_like(plain)
        for batch in data.plain_batches():
            with torch.no_grad():
                (rows,) = data.features(batch)
            plain[batch.indices.numpy()] = rows.flatten(1).float().cpu().numpy()
    if not (np.isfinite(features).all() and np.isfinite(plain).all()):
        raise _non_finite(phase, "train")
    return Examples(features, data.labels.numpy(), np.unique(data.clusters, return_inverse=True)[1], plain)


def _train_metrics(head: nn.Linear | nn.Conv2d, examples: Examples) -> dict[str, float]:
    """Return loss and accuracy of the head over all views, with its own float32 weights."""
    rows = torch.from_numpy(examples.features).flatten(0, 1)
    bias = None if head.bias is None else head.bias.detach().cpu()
    logits: Tensor = nn.functional.linear(rows, head.weight.detach().cpu().flatten(1), bias)
    return quick_metrics(examples.labels.repeat(examples.features.shape[1]), logits.double().softmax(dim=1).numpy())


def _non_finite(phase: Phase, split: str) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"the features of {split} are NaN or infinite in phase {phase.name!r}",
        hint="Check model.weights: the frozen part computes them from the images alone.",
    )
