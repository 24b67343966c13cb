"""Scoring: every image once, in order, in eval mode, without gradients, labelled or not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.data.loader import Images, Loader
from ftcli.data.transforms import evaluation_transform, normalise
from ftcli.data.workers import default_workers
from ftcli.engine.device import Compute
from ftcli.errors import ModelError
from ftcli.model.freezing import evaluating
from ftcli.model.network import Network

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores images with a network and its own preprocessing."""

    network: Network
    compute: Compute
    batch_size: int

    def scores(self, images: Images) -> Generator[tuple[int, NDArray[np.float64]]]:
        """Yield the index and the probabilities (classes,) of each image, in order.

        Raises ImageError as `Loader.batches` does. Close the iterator to stop its workers early.
        """
        transform, workers = evaluation_transform(self.network.spec), default_workers(len(images))
        with Loader(images, transform=transform, batch_size=self.batch_size, workers=workers) as loader:
            batches = score_batches(
                self.network,
                loader.in_order(),
                lambda batch: self.network.module(to_input(batch.images, self.network, self.compute)),
            )
            yield from enumerate(row for rows in batches for row in rows)

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """Return the probabilities (N, classes) of images.

        Raises ImageError, and ModelError for a network whose weights give no finite numbers.
        """
        with closing(self.scores(images)) as scores:
            probabilities = np.stack([row for _, row in scores])
        wrong = int((~np.isfinite(probabilities)).any(axis=1).sum())
        if wrong:
            raise ModelError(
                f"the network gives no finite probabilities for {wrong} of {len(images)} images",
                hint="Use another checkpoint: these weights are damaged, or come from a training that diverged.",
            )
        return probabilities


@torch.inference_mode()  # as a decorator, torch leaves the mode whenever the generator yields
def score_batches(
    network: Network, batches: Iterable[BatchT], forward: Callable[[BatchT], Tensor]
) -> Iterator[NDArray[np.float64]]:
    """Yield the probabilities (n, classes) of each batch; `forward` makes logits of it, on the device.

    The network is in eval mode until the last batch. It computes in float32 whatever it was trained in, so that `train`
    and `eval` agree. The softmax is taken on the device; float64 begins on the CPU, since Apple's GPUs have none.
    """
    with evaluating(network):
        for batch in batches:
            logits = forward(batch)
            wide = logits.float().softmax(dim=1).cpu().to(torch.float64).numpy()
            yield wide / wide.sum(axis=1, keepdims=True)


def to_input(images: Tensor, network: Network, compute: Compute) -> Tensor:
    """Return the network's input for uint8 images (N, 3, S, S): on the device, normalised, channels-last."""
    return normalise(compute.copy(images), network.spec).contiguous(memory_format=torch.channels_last)
