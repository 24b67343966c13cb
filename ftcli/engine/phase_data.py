"""Owns choosing what each phase learns from: cached features where a prefix is frozen and fits, else images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Self

from ftcli.data.loader import EvaluationLoader, Images, TrainingLoader, batch_indices
from ftcli.data.transforms import FixedViews, FreshViews, Views, evaluation_transform, training_transform
from ftcli.engine.extraction import (
    STORED_DTYPE,
    VAL_STORED_DTYPE,
    Preprocessing,
    Setting,
    Storage,
    StoringPrefix,
    epochs_shown,
    fixed_views,
    load,
    views_of_epochs,
)
from ftcli.engine.probe import cannot_probe
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
from ftcli.model.prefix.cut import Cut, cut_network
from ftcli.model.prefix.fast import fast_prefix
from ftcli.plan import Phase


class Sources:
    """Opens the source of each phase of one run; a context that ends its workers and lets its cache go."""

    def __init__(self, setting: Setting, images: Mapping[str, Images]) -> None:
        self._setting = setting
        self._train, self._val = images["train"], images["val"]
        self._open = ExitStack()
        self._told: set[str] = set()
        self._storage = Storage(setting, self._open, tell=self._tell)
        spec, augment = setting.network.spec, setting.section.augment
        self._evaluation = Preprocessing(evaluation_transform(spec), "evaluation")
        self._augmentation = (
            self._evaluation if augment == "none" else Preprocessing(training_transform(spec, augment), augment)
        )

    def open(self, phase: Phase, *, first_epoch: int) -> PhaseSource:
        """Return the source of a phase; what it needs of the cache is computed now."""
        cut = self._cut(phase)
        views = self._views(phase)
        epochs = epochs_shown(phase, self._setting.section, first_epoch=first_epoch)
        steps = len(batch_indices(range(len(self._train)), self._setting.section.batch_size))
        if cut is None:
            whole = WholeLogits(self._setting.network, self._setting.compute)
            return PhaseSource(TrainingImages(self._training, views), self._validation_images, steps, whole, whole)
        prefix = StoringPrefix(fast_prefix(cut), self._setting, dtype=STORED_DTYPE)
        exact = StoringPrefix(prefix.forward, self._setting, dtype=VAL_STORED_DTYPE)
        train = self._stored_training(cut, prefix, views, epochs) or TrainingImages(self._training, views)
        val = self._stored_validation(cut, exact) or self._validation_images
        # Fresh views are stored nowhere; without a cache, others are to be what they would be with one.
        of_train = prefix.widening if isinstance(views, FreshViews) else prefix.in_blocks
        logits, val_logits = (CutLogits(cut, each, self._setting.compute) for each in (of_train, exact.in_blocks))
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
            sample = next(load(self._val, self._evaluation, [(index, (0,)) for index in range(2)], workers=0))
            inexact = cut.check(to_input(sample.images, self._setting.network, self._setting.compute))
            if inexact is None:
                return cut
            cut = inexact
        if phase.solver == "lbfgs":
            raise cannot_probe(self._setting.network, cut.reason)
        self._tell(f"phase {phase.name!r} computes the frozen part in every epoch: {cut.reason}")
        return None

    def _stored_training(self, cut: Cut, prefix: StoringPrefix, views: Views, epochs: range) -> Batches | None:
        if isinstance(views, FreshViews):
            return None
        wanted = views_of_epochs(self._setting.section, epochs)
        place = {view: position for position, view in enumerate(wanted)}
        features = self._storage.features(cut, prefix, self._train, wanted, self._augmentation)
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

    def _stored_validation(self, cut: Cut, prefix: StoringPrefix) -> Batches | None:
        features = self._storage.features(cut, prefix, self._val, (0,), self._evaluation)
        if features is None:
            return None
        return StoredFeatures(
            features,
            labels=self._val.labels,
            batch_size=self._setting.section.batch_size,
            views=1,
            order=lambda _epoch: range(len(self._val)),
            view_of=lambda _epoch: 0,
        )

    @cached_property
    def _training(self) -> TrainingLoader:
        return self._open.enter_context(
            TrainingLoader(
                self._train,
                transform=self._augmentation.transform,
                batch_size=self._setting.section.batch_size,
                workers=self._setting.workers(len(self._train)),
                seed=self._setting.seed,
            )
        )

    @cached_property
    def _validation_images(self) -> ValidationImages:
        loader = EvaluationLoader(
            self._val,
            transform=self._evaluation.transform,
            batch_size=self._setting.section.batch_size,
            workers=self._setting.workers(len(self._val)),
        )
        return ValidationImages(self._open.enter_context(loader))

    def _tell(self, sentence: str) -> None:
        """Say something once."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._setting.listeners.notice(sentence)
