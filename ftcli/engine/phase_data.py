"""What a phase learns from: features from the cache where a prefix is frozen and they fit, else images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ftcli.cache.collection import StoredFeatures
from ftcli.cache.key import CacheError
from ftcli.data.loader import Batch, Images, Loader, Workers, batch_indices, load_views, training_order
from ftcli.data.transforms import FixedViews, FreshViews, Transform, Views, evaluation_transform, training_transform
from ftcli.engine.device import Compute
from ftcli.engine.extraction import STORED_DTYPE, VAL_STORED_DTYPE, DataSettings, Extraction, FeatureBatch, OnRows
from ftcli.engine.inference import to_input
from ftcli.model.network import Network
from ftcli.model.prefix.cut import Cut, Features, NotCut, cut_network
from ftcli.model.prefix.fast import fast_prefix
from ftcli.plan import Phase

EVERY_GROUP_TRAINS = NotCut("every group trains")

AnyBatch = Batch | FeatureBatch
Forward = Callable[[AnyBatch], Tensor]
"""From a batch to logits (N, classes), float32 on the device."""


@dataclass(frozen=True, eq=False)
class PhaseData:
    """The batches of one phase, and the way from a batch to logits.

    `train_batches` yields those of an epoch in its order, `val_batches` every val image once, in order. Of a network
    that is cut, `features` makes what crosses the cut for a training batch, on the device. `forward` computes the body
    in the precision of training, `val_forward` everything in float32. `cached` says whether the
    training features were computed beforehand. Epochs 0 to `views` - 1 show each fixed view of a training image once;
    images of one of the `clusters` are held out together, and scored by `plain_batches`, in which every training image
    comes once, in order, without augmentation; None where its views have none.
    """

    train_batches: Callable[[int], Iterable[AnyBatch]]
    val_batches: Callable[[], Iterable[AnyBatch]]
    labels: Tensor
    val_labels: Tensor
    forward: Forward
    val_forward: Forward
    steps_per_epoch: int
    cached: bool = False
    plain_batches: Callable[[], Iterable[AnyBatch]] | None = None
    cut: Cut | NotCut = EVERY_GROUP_TRAINS
    features: Callable[[AnyBatch], Features] | None = None
    clusters: tuple[str, ...] = ()
    views: int = 1


class DataOpener:
    """Opens the data of each phase of one run; a context that ends its workers and closes its cache.

    `notice` is called once with each reason why something is not cached, `on_rows` while features are computed.
    """

    def __init__(
        self,
        network: Network,
        images: Mapping[str, Images],
        settings: DataSettings,
        compute: Compute,
        *,
        notice: Callable[[str], None],
        on_rows: OnRows,
    ) -> None:
        self.settings = settings
        self._network = network
        self._compute = compute
        self._train, self._val = images["train"], images["val"]
        self._notice = notice
        self._on_rows = on_rows
        self._open = ExitStack()
        self._noticed: set[str] = set()
        self._evaluation = evaluation_transform(network.spec)
        self._augmentation = training_transform(network.spec, settings.augment)
        # One pool for all phases and both splits: a new one would import torch where processes are not forked.
        most = max(settings.workers_for(len(each)) for each in (self._train, self._val))
        self._workers = self._open.enter_context(Workers(most))
        self._train_loader = self._loader(self._train, self._augmentation)
        self._val_loader = self._loader(self._val, self._evaluation)

    def open(self, phase: Phase, *, epochs: range, must_cut: bool) -> PhaseData:
        """Return the data of a phase that shows the views of `epochs`; missing features are computed now.

        `must_cut` asks for a cut even where nothing is cached.
        """
        assert self._train.labels is not None, "training images have labels"
        assert self._val.labels is not None, "val images have labels"
        cut, fixed = self._cut(phase, must_cut=must_cut), self.settings.views
        views: Views = FreshViews(self.settings.seed)
        if fixed != "fresh" and phase.frozen:
            views = FixedViews(fixed, self.settings.views_seed)
        whole = PhaseData(
            train_batches=lambda epoch: self._train_loader.epoch(epoch, views, seed=self.settings.seed),
            val_batches=self._val_loader.in_order,
            labels=self._train.labels,
            val_labels=self._val.labels,
            forward=self._in_training(self._whole),
            val_forward=self._whole,
            steps_per_epoch=len(batch_indices(range(len(self._train)), self.settings.batch_size)),
            cut=cut,
            clusters=self._train.clusters,
            views=self.settings.different_views,
        )
        if not isinstance(cut, Cut):
            return whole
        return self._cut_data(whole, cut, views, epochs, holds_out=must_cut and self.settings.augment != "none")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def _cut(self, phase: Phase, *, must_cut: bool) -> Cut | NotCut:
        """Return the cut of a phase, having checked that it gives the logits of the whole network on two images."""
        if not phase.frozen:
            return EVERY_GROUP_TRAINS
        if self.settings.cache == "off" and not must_cut:
            return NotCut("cache: off")
        cut = cut_network(self._network, phase.lr)
        if isinstance(cut, Cut):
            two = [(index, (0,)) for index in range(2)]
            sample = next(load_views(self._val, two, transform=self._evaluation, batch_size=2, workers=0))
            cut = cut.check(to_input(sample.images, self._network, self._compute)) or cut
        if isinstance(cut, NotCut) and not must_cut:
            self._notice_once(f"phase {phase.name!r} computes the frozen part in every epoch: {cut.reason}")
        return cut

    def _cut_data(self, whole: PhaseData, cut: Cut, views: Views, epochs: range, *, holds_out: bool) -> PhaseData:
        """Return the data of a cut network: stored features where the cache holds them, else images to compute."""
        prefix = fast_prefix(cut)
        shown = () if isinstance(views, FreshViews) else self.settings.views_of(epochs)
        # Fresh views are not stored; other views, without a cache, get the features that the cache would hold.
        dtype = STORED_DTYPE if shown else torch.float32
        train = Extraction(cut, prefix, self._augmentation, self._compute, dtype, self.settings.views_seed)
        val = Extraction(cut, prefix, self._evaluation, replace(self._compute, precision="fp32"), VAL_STORED_DTYPE)
        stored = self._stored(train, self._train, shown) if shown else None
        val_stored = self._stored(val, self._val, (0,))
        plain_stored = self._stored(val, self._train, (0,)) if holds_out else None

        def train_batches(epoch: int) -> Iterable[FeatureBatch]:
            if stored is None:
                return train.computed(self._train_loader.epoch(epoch, views, seed=self.settings.seed))
            order = training_order(len(self._train), seed=self.settings.seed, epoch=epoch)
            view = shown.index(epoch % whole.views)
            return _stored_batches(stored, order, self.settings.batch_size, views=len(shown), view=view)

        def in_order(images: Images, stored: StoredFeatures | None) -> Iterable[FeatureBatch]:
            if stored is None:
                return val.computed(self._loader(images, self._evaluation).in_order())
            return _stored_batches(stored, range(len(images)), self.settings.batch_size, views=1, view=0)

        def features(batch: AnyBatch) -> Features:
            assert isinstance(batch, FeatureBatch), "a cut network gets features"
            return train.to_device(batch.features)

        return replace(
            whole,
            train_batches=train_batches,
            val_batches=lambda: in_order(self._val, val_stored),
            plain_batches=(lambda: in_order(self._train, plain_stored)) if holds_out else None,
            forward=self._in_training(lambda batch: cut.suffix(features(batch))),
            val_forward=lambda batch: cut.suffix(features(batch)),
            cached=stored is not None,
            features=features,
        )

    def _stored(self, extraction: Extraction, images: Images, views: Sequence[int]) -> StoredFeatures | None:
        """Return stored features of views; None without a cache, and after a notice where it fails."""
        if self.settings.cache == "off":
            return None
        try:
            return extraction.stored(images, views, workers=self._workers, opened=self._open, on_rows=self._on_rows)
        except CacheError as error:
            self._notice_once(f"features are computed in every epoch, since the cache cannot keep them: {error}")
            return None

    def _in_training(self, forward: Forward) -> Forward:
        """Return a forward pass in the precision of training, its heads in float32."""
        heads = [self._network.module.get_submodule(path) for path in self._network.heads]

        def in_precision(batch: AnyBatch) -> Tensor:
            with self._compute.autocast(*heads):
                return forward(batch).float()  # an operation after the head may have narrowed them

        return in_precision

    def _whole(self, batch: AnyBatch) -> Tensor:
        """Return the logits of images by the whole network; they are normalised on the device."""
        assert isinstance(batch, Batch), "features need a cut"
        logits: Tensor = self._network.module(to_input(batch.images, self._network, self._compute))
        return logits

    def _loader(self, images: Images, transform: Transform) -> Loader:
        return Loader(images, transform=transform, batch_size=self.settings.batch_size, workers=self._workers)

    def _notice_once(self, text: str) -> None:
        if text not in self._noticed:
            self._noticed.add(text)
            self._notice(text)


def _stored_batches(
    features: StoredFeatures, order: Sequence[int], batch_size: int, *, views: int, view: int
) -> Iterator[FeatureBatch]:
    """Yield one view of the images in an order; of `views` stored ones, row `i * views + v` is view v of image i."""
    for batch in batch_indices(order, batch_size):
        indices = np.asarray(batch, dtype=np.int64)
        yield FeatureBatch(torch.from_numpy(indices), features.rows(indices * views + view))
