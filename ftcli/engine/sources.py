"""Owns what a phase learns from: images through the whole network, or features through its suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.cache.collection import Features
from ftcli.cache.shard import decode
from ftcli.data.loader import Batch, EvaluationLoader, Images, TrainingLoader, batch_indices
from ftcli.data.transforms import Views, evaluation_transform, normalise
from ftcli.data.workers import default_workers
from ftcli.engine.device import Compute
from ftcli.engine.inference import score_batches
from ftcli.errors import ModelError
from ftcli.model.network import Network
from ftcli.model.prefix.cut import Cut


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Features of a batch with their labels: `indices` (N,) int64, `labels` (N,) int64, each feature (N, ...)."""

    indices: Tensor
    labels: Tensor
    features: tuple[Tensor, ...]


class Batches(Protocol):
    """One side of a source: the batches of train in an epoch, or those of val."""

    @property
    def cached(self) -> bool:
        """Whether they are features that were computed beforehand."""

    def of(self, epoch: int) -> Iterable[Batch | FeatureBatch]:
        """Yield the batches of an epoch."""


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """Decodes and augments the training images in every epoch."""

    loader: TrainingLoader
    views: Views
    cached: bool = field(default=False, init=False)

    def of(self, epoch: int) -> Iterable[Batch]:
        """Yield the batches of an epoch."""
        return self.loader.epoch(epoch, self.views)


@dataclass(frozen=True, eq=False)
class ValidationImages:
    """Decodes the val images in every epoch."""

    loader: EvaluationLoader
    cached: bool = field(default=False, init=False)

    def of(self, _epoch: int) -> Iterable[Batch]:
        """Yield every image once, in order."""
        return self.loader


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Takes features of images from the cache: row `index * views + v` holds the v-th of the views.

    `order` gives the order of the images in an epoch, and `view_of` which of the views it uses.
    """

    features: Features
    labels: Tensor
    batch_size: int
    views: int
    order: Callable[[int], Sequence[int]]
    view_of: Callable[[int], int]
    cached: bool = field(default=True, init=False)

    def of(self, epoch: int) -> Iterator[FeatureBatch]:
        """Yield the batches of an epoch, in the order in which images would come."""
        view = self.view_of(epoch)
        for batch in batch_indices(self.order(epoch), self.batch_size):
            indices = np.asarray(batch, dtype=np.int64)
            features = self.features.rows(indices * self.views + view, view=0)
            chosen = torch.from_numpy(indices)
            yield FeatureBatch(chosen, self.labels[chosen], features)


@dataclass(frozen=True, eq=False)
class PhaseSource:
    """The source of one phase: train and val, and the way from a batch to logits.

    Training images of which `together` says the same are held out together; epochs 0 to `views` - 1 show each of their
    fixed views once.
    """

    train: Batches
    val: Batches
    steps_per_epoch: int
    logits_of: Callable[[Batch | FeatureBatch], Tensor]
    val_logits_of: Callable[[Batch | FeatureBatch], Tensor]
    together: tuple[str, ...] = ()
    views: int = 1

    @property
    def cached(self) -> bool:
        """Whether the training features were computed beforehand."""
        return self.train.cached

    def training(self, epoch: int, /) -> Iterable[Batch | FeatureBatch]:
        """Yield the training batches of an epoch, in its order."""
        return self.train.of(epoch)

    def validation(self) -> Iterable[Batch | FeatureBatch]:
        """Yield every val image once, in order."""
        return self.val.of(0)

    def logits(self, batch: Batch | FeatureBatch) -> Tensor:
        """Return (N, classes) of a training batch, on the device."""
        return self.logits_of(batch)

    def val_logits(self, batch: Batch | FeatureBatch) -> Tensor:
        """Return (N, classes) of a val batch, on the device; its features have all their digits."""
        return self.val_logits_of(batch)


@dataclass(frozen=True, eq=False)
class CutLogits:
    """Logits by way of a cut: images pass the prefix and are rounded as stored features are, then the suffix."""

    cut: Cut
    prefix: Callable[[Tensor], tuple[Tensor, ...]]
    compute: Compute

    def __call__(self, batch: Batch | FeatureBatch) -> Tensor:
        """Return (N, classes) on the device."""
        return self.cut.suffix(self.features(batch))

    def features(self, batch: Batch | FeatureBatch) -> tuple[Tensor, ...]:
        """Return what crosses the cut, on the device."""
        features = batch.features if isinstance(batch, FeatureBatch) else self.prefix(batch.images)
        return tuple(self._ready(feature) for feature in features)

    def _ready(self, feature: Tensor) -> Tensor:
        on_device = decode(feature.to(self.compute.device, non_blocking=True))
        return on_device.contiguous(memory_format=torch.channels_last) if on_device.ndim == 4 else on_device


@dataclass(frozen=True, eq=False)
class WholeLogits:
    """Logits of images by the whole network; normalisation happens on the device."""

    network: Network
    compute: Compute

    def __call__(self, batch: Batch | FeatureBatch) -> Tensor:
        """Return (N, classes) on the device."""
        assert isinstance(batch, Batch), "features need a cut"
        logits: Tensor = self.network.module(to_input(batch.images, self.network, self.compute))
        return logits


def to_input(images: Tensor, network: Network, compute: Compute) -> Tensor:
    """Return the network's input for uint8 images (N, 3, S, S): on the device, normalised, channels-last."""
    on_device = images.to(compute.device, non_blocking=True)
    return normalise(on_device, network.spec).contiguous(memory_format=torch.channels_last)


def score_images(
    network: Network, images: Images, compute: Compute, *, batch_size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (N,) and probabilities (N, classes) of images, in their order.

    Raises ImageError as `Stream.batches` does, and ModelError for a network whose weights give no finite numbers.
    """
    workers = default_workers(len(images))
    transform = evaluation_transform(network.spec)
    with EvaluationLoader(images, transform=transform, batch_size=batch_size, workers=workers) as loader:
        labels, probabilities = score_batches(network, loader, WholeLogits(network, compute), compute)
    wrong = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if wrong:
        hint = "Its weights are not what a training leaves; use another checkpoint."
        raise ModelError(f"the network gives no finite probabilities for {wrong} of {len(labels)} images", hint=hint)
    return labels, probabilities
