"""Owns what each phase learns from: images in batches, and the way from a batch to logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.data.class_folders import Sample
from ftcli.data.cores import default_workers
from ftcli.data.dataset import Dataset
from ftcli.data.inspection import ImageFacts
from ftcli.data.loading import Batch, EvaluationLoader, TrainingLoader, batch_indices
from ftcli.data.transforms import evaluation_transform, normalise, training_transform
from ftcli.data.views import FixedViews, FreshViews, Views
from ftcli.engine.device import Compute
from ftcli.engine.scoring import score_batches
from ftcli.engine.training import Source
from ftcli.model.backbones import Network
from ftcli.plan import Phase
from ftcli.recipe import DataSection


class Sources:
    """Opens the source of each phase of one run; a context that ends its worker processes."""

    def __init__(
        self,
        network: Network,
        dataset: Dataset,
        facts: Mapping[str, Sequence[ImageFacts]],
        section: DataSection,
        *,
        seed: int,
        compute: Compute,
    ) -> None:
        self._network = network
        self._compute = compute
        self._views: Views = FreshViews(seed) if section.views == "fresh" else FixedViews(section.views)
        self._fresh = FreshViews(seed)
        train, val = dataset.splits["train"], dataset.splits["val"]
        self._steps = len(batch_indices(range(len(train)), section.batch_size))
        self._training = TrainingLoader(
            train,
            [image.sha256 for image in facts["train"]],
            transform=training_transform(network.spec, section.augment),
            batch_size=section.batch_size,
            workers=_workers(section, len(train)),
            seed=seed,
        )
        self._validation = EvaluationLoader(
            val,
            transform=evaluation_transform(network.spec),
            batch_size=section.batch_size,
            workers=_workers(section, len(val)),
        )
        self._open = ExitStack()

    def open(self, phase: Phase) -> Source:
        """Return the source of a phase; one that trains every group draws fresh views."""
        views = self._views if phase.frozen else self._fresh
        return _Images(self._network, self._training, self._validation, views, self._steps, self._compute)

    def __enter__(self) -> Self:
        self._open.enter_context(self._training)
        self._open.enter_context(self._validation)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


class _Images:
    """Decodes and augments in every epoch, and runs the whole network."""

    cached = False

    def __init__(
        self,
        network: Network,
        training: TrainingLoader,
        validation: EvaluationLoader,
        views: Views,
        steps: int,
        compute: Compute,
    ) -> None:
        self._network = network
        self._training = training
        self._validation = validation
        self._views = views
        self._compute = compute
        self.steps_per_epoch = steps

    def training(self, epoch: int) -> Iterable[Batch]:
        return self._training.epoch(epoch, self._views)

    def validation(self) -> Iterable[Batch]:
        return self._validation

    def logits(self, batch: Batch) -> Tensor:
        return image_logits(self._network, batch, self._compute)


def image_logits(network: Network, batch: Batch, compute: Compute) -> Tensor:
    """Return (N, classes) for uint8 images; normalisation happens on the device."""
    images = normalise(batch.images.to(compute.device, non_blocking=True), network.spec)
    logits: Tensor = network.module(images.contiguous(memory_format=torch.channels_last))
    return logits


def score_images(
    network: Network, samples: Sequence[Sample], compute: Compute, *, batch_size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (N,) and probabilities (N, classes) of images, in their order."""
    workers = default_workers(len(samples))
    transform = evaluation_transform(network.spec)
    with EvaluationLoader(samples, transform=transform, batch_size=batch_size, workers=workers) as loader:
        return score_batches(network, loader, lambda batch: image_logits(network, batch, compute), compute)


def _workers(section: DataSection, images: int) -> int:
    return default_workers(images) if section.workers == "auto" else section.workers
