"""Owns scoring: every image once, in order, in eval mode, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.engine.device import Compute
from ftcli.model.freezing import evaluating
from ftcli.model.network import Network


class Labelled(Protocol):
    """A batch, of images or of features."""

    @property
    def labels(self) -> Tensor:
        """The labels (N,) int64."""


BatchT = TypeVar("BatchT", bound=Labelled)


def score_batches(
    network: Network, batches: Iterable[BatchT], logits_of: Callable[[BatchT], Tensor], compute: Compute
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (N,) and probabilities (N, classes) in the order of the batches.

    The softmax is taken in float32 on the device; float64 begins on the CPU, since Apple's GPUs have none.
    """
    labels: list[Tensor] = []
    probabilities: list[Tensor] = []
    with evaluating(network), torch.inference_mode():
        for batch in batches:
            with compute.autocast():
                logits = logits_of(batch)
            probabilities.append(logits.float().softmax(dim=1).cpu())
            labels.append(batch.labels.cpu())
    wide = torch.cat(probabilities).to(torch.float64).numpy()
    return torch.cat(labels).numpy(), wide / wide.sum(axis=1, keepdims=True)
