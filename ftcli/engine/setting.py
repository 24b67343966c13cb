"""Owns what all phases of a run share: the network, the images of each split, their preprocessing, and who hears."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ftcli.data.loader import Images
from ftcli.data.loading import load_views
from ftcli.data.streams import Batch, Key
from ftcli.data.transforms import Transform
from ftcli.data.workers import default_workers
from ftcli.engine.device import Compute
from ftcli.engine.extraction import EXTRACTION_BATCH
from ftcli.model.network import Network
from ftcli.recipe.keys import DataSection


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

    def workers(self, images: int) -> int:
        """Return how many processes decode so many images."""
        return default_workers(images) if self.section.workers == "auto" else self.section.workers


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A transform and what the cache calls it."""

    transform: Transform
    name: str


def load(images: Images, how: Preprocessing, jobs: Sequence[Key], *, workers: int) -> Iterator[Batch]:
    """Yield the views of images that `jobs` name, preprocessed, in batches."""
    return load_views(images, jobs, transform=how.transform, batch_size=EXTRACTION_BATCH, workers=workers)
