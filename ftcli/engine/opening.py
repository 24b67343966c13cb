"""Owns choosing what each phase learns from: cached features where a prefix is frozen and fits, else images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from ftcli.cache.encoding import encode
from ftcli.cache.errors import CacheError, HalfPrecisionError
from ftcli.cache.features import Features
from ftcli.cache.naming import cache_directory
from ftcli.cache.store import FeatureStore
from ftcli.data.class_folders import Sample
from ftcli.data.cores import default_workers
from ftcli.data.loading import EvaluationLoader, TrainingLoader, batch_indices, load_views
from ftcli.data.streams import Batch, Key
from ftcli.data.transforms import Transform, evaluation_transform, training_transform
from ftcli.data.views import FixedViews, FreshViews, Views
from ftcli.engine.device import Compute
from ftcli.engine.features import (
    EXTRACTION_BATCH,
    STORED_DTYPE,
    VAL_STORED_DTYPE,
    Wanted,
    describe,
    epochs_shown,
    fill,
    fixed_views,
    row_bytes,
    views_of_epochs,
)
from ftcli.engine.probing import cannot_probe
from ftcli.engine.sources import (
    Batches,
    CutLogits,
    PhaseSource,
    StoredFeatures,
    TrainingImages,
    ValidationImages,
    WholeLogits,
    to_input,
)
from ftcli.model.backbones import Network
from ftcli.model.cutting import Cut, cut_network
from ftcli.model.fast_forward import FastPrefix, fast_prefix
from ftcli.plan import Phase
from ftcli.recipe import DataSection


@dataclass(frozen=True, eq=False)
class Images:
    """The labelled images of one split, with the hashes of their contents."""

    samples: Sequence[Sample]
    sha256s: tuple[str, ...]

    @cached_property
    def labels(self) -> Tensor:
        """The labels (N,) int64."""
        return torch.tensor([sample.label for sample in self.samples])

    @property
    def together(self) -> tuple[str, ...]:
        """What each image shares with those that are held out with it: its group, or else its content."""
        return tuple(sample.group or sha256 for sample, sha256 in zip(self.samples, self.sha256s, strict=True))


@dataclass(frozen=True)
class Listeners:
    """Who hears of what happens: sentences, and (views done, views to do) while features are computed."""

    notice: Callable[[str], None]
    rows: Callable[[int, int], None] | None = None


@dataclass(frozen=True, eq=False)
class Setting:
    """What all phases of a run share."""

    network: Network
    section: DataSection
    seed: int
    compute: Compute
    listeners: Listeners


@dataclass(frozen=True, eq=False)
class _Preprocessing:
    """A transform and what the cache calls it."""

    transform: Transform
    name: str


class Sources:
    """Opens the source of each phase of one run; a context that ends its workers and lets its cache go."""

    def __init__(self, setting: Setting, images: Mapping[str, Images]) -> None:
        self._setting = setting
        self._train, self._val = images["train"], images["val"]
        self._open = ExitStack()
        self._told: set[str] = set()
        spec, augment = setting.network.spec, setting.section.augment
        self._evaluation = _Preprocessing(evaluation_transform(spec), "evaluation")
        self._augmentation = (
            self._evaluation if augment == "none" else _Preprocessing(training_transform(spec, augment), augment)
        )

    def open(self, phase: Phase, *, first_epoch: int) -> PhaseSource:
        """Return the source of a phase; what it needs of the cache is computed now."""
        cut = self._cut(phase)
        views = self._views(phase)
        epochs = epochs_shown(phase, self._setting.section, first_epoch=first_epoch)
        steps = len(batch_indices(range(len(self._train.samples)), self._setting.section.batch_size))
        if cut is None:
            whole = WholeLogits(self._setting.network, self._setting.compute)
            return PhaseSource(TrainingImages(self._training, views), self._validation_images, steps, whole, whole)
        prefix = _Prefix(fast_prefix(cut), self._setting, dtype=STORED_DTYPE)
        exact = _Prefix(prefix.forward, self._setting, dtype=VAL_STORED_DTYPE)
        train = self._stored_training(cut, prefix, views, epochs) or TrainingImages(self._training, views)
        val = self._stored_validation(cut, exact) or self._validation_images
        logits, val_logits = (CutLogits(cut, each.widening, self._setting.compute) for each in (prefix, exact))
        known = self._train.together, fixed_views(self._setting.section)
        return PhaseSource(train, val, steps, logits, val_logits, *known)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _views(self, phase: Phase) -> Views:
        views = self._setting.section.views
        return FixedViews(views) if views != "fresh" and phase.frozen else FreshViews(self._setting.seed)

    def _cut(self, phase: Phase) -> Cut | None:
        """Return the cut of a phase, or None, having said why, where it trains the whole network.

        L-BFGS needs the cut even where nothing is cached. Raises ModelError where there is none.
        """
        if (self._setting.section.cache == "off" and phase.solver == "sgd") or not phase.frozen:
            return None
        cut = cut_network(self._setting.network, phase.lr)
        if isinstance(cut, Cut):
            sample = next(self._load(self._val, self._evaluation, [(index, (0,)) for index in range(2)], workers=0))
            inexact = cut.check(to_input(sample.images, self._setting.network, self._setting.compute))
            if inexact is None:
                return cut
            cut = inexact
        if phase.solver == "lbfgs":
            raise cannot_probe(self._setting.network, cut.reason)
        self._tell(f"phase {phase.name!r} computes the frozen part in every epoch: {cut.reason}")
        return None

    def _stored_training(self, cut: Cut, prefix: _Prefix, views: Views, epochs: range) -> Batches | None:
        if isinstance(views, FreshViews):
            return None
        wanted = views_of_epochs(self._setting.section, epochs)
        place = {view: position for position, view in enumerate(wanted)}
        features = self._features(cut, prefix, self._train, wanted, self._augmentation)
        if features is None:
            return None
        return StoredFeatures(
            features,
            labels=self._train.labels,
            batch_size=self._setting.section.batch_size,
            views=len(wanted),
            order=self._training.order,
            view_of=lambda epoch: place[epoch % views.count] if len(wanted) > 1 else 0,
        )

    def _stored_validation(self, cut: Cut, prefix: _Prefix) -> Batches | None:
        features = self._features(cut, prefix, self._val, (0,), self._evaluation)
        if features is None:
            return None
        return StoredFeatures(
            features,
            labels=self._val.labels,
            batch_size=self._setting.section.batch_size,
            views=1,
            order=lambda _epoch: range(len(self._val.samples)),
            view_of=lambda _epoch: 0,
        )

    def _features(
        self, cut: Cut, prefix: _Prefix, images: Images, views: tuple[int, ...], how: _Preprocessing
    ) -> Features | None:
        """Return the features of views of images, computing what is missing; None, having said why, without a cache."""
        if self._setting.section.cache == "off":
            return None
        wanted = Wanted(images.sha256s, views)
        try:
            try:
                return self._stored(cut, prefix, images, wanted, how)
            except HalfPrecisionError:
                prefix.dtype = torch.float32
                return self._stored(cut, prefix, images, wanted, how)
        except CacheError as error:
            self._tell(f"features are computed in every epoch, since the cache cannot keep them: {error}")
            return None

    def _stored(self, cut: Cut, prefix: _Prefix, images: Images, wanted: Wanted, how: _Preprocessing) -> Features:
        setting = self._setting
        description = describe(cut, how.name, dtype=prefix.dtype, compute=setting.compute)
        store = FeatureStore(cache_directory())
        collection = self._open.enter_context(store.collection(description))
        missing = len(collection.missing(wanted.names))
        shortage = store.would_fit(missing * row_bytes(cut, prefix.dtype)) if missing else None
        if shortage is not None:
            raise CacheError(shortage)
        fill(
            collection,
            wanted,
            load=lambda jobs: self._load(images, how, jobs, workers=self._workers(len(jobs))),
            prefix=prefix,
            on_rows=setting.listeners.rows,
        )
        return collection.open(wanted.names)

    def _load(self, images: Images, how: _Preprocessing, jobs: Sequence[Key], *, workers: int) -> Iterator[Batch]:
        return load_views(images.samples, jobs, transform=how.transform, batch_size=EXTRACTION_BATCH, workers=workers)

    def _workers(self, images: int) -> int:
        workers = self._setting.section.workers
        return default_workers(images) if workers == "auto" else workers

    @cached_property
    def _training(self) -> TrainingLoader:
        return self._open.enter_context(
            TrainingLoader(
                self._train.samples,
                self._train.sha256s,
                transform=self._augmentation.transform,
                batch_size=self._setting.section.batch_size,
                workers=self._workers(len(self._train.samples)),
                seed=self._setting.seed,
            )
        )

    @cached_property
    def _validation_images(self) -> ValidationImages:
        loader = EvaluationLoader(
            self._val.samples,
            transform=self._evaluation.transform,
            batch_size=self._setting.section.batch_size,
            workers=self._workers(len(self._val.samples)),
        )
        return ValidationImages(self._open.enter_context(loader))

    def _tell(self, sentence: str) -> None:
        """Say something once."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._setting.listeners.notice(sentence)


class _Prefix:
    """The frozen part of a cut from uint8 images to features as they are stored, in the memory of the CPU.

    Raises HalfPrecisionError when a value does not fit into `dtype`.
    """

    def __init__(self, forward: FastPrefix, setting: Setting, *, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.forward = forward
        self._setting = setting

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what crosses the cut for images (N, 3, S, S)."""
        return self._encoded(images, self.dtype)

    def widening(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the same; where a value does not fit, those of this batch are float32.

        It remembers nothing of other batches, so that a resumed run sees what an uninterrupted one saw.
        """
        try:
            return self._encoded(images, self.dtype)
        except HalfPrecisionError:
            return self._encoded(images, torch.float32)

    def _encoded(self, images: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        with self._setting.compute.autocast():
            features = self.forward(to_input(images, self._setting.network, self._setting.compute))
            return tuple(encode(feature, dtype).cpu() for feature in features)
