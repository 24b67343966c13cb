"""Wires a recipe to everything that one run works with: network, images, sources and the run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ftcli.commands.inspecting import Inspected, inspect_for_training
from ftcli.commands.prepare import Preparation
from ftcli.commands.supervision import Progress, Supervision, kept_epochs, stop_if_asked
from ftcli.evaluation.predictions import Predictions
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import recipe_text
from ftcli.records import EpochRecord
from ftcli.runs.create import create
from ftcli.runs.directory import FORMAT_VERSION, RunDirectory, default_name
from ftcli.runs.lock import Held
from ftcli.tracking.trackers import Trackers, open_trackers

if TYPE_CHECKING:  # torch, which wrong recipes and names must not wait for
    from torch import Tensor

    from ftcli.data.inspection import ImageFacts
    from ftcli.engine.device import Compute
    from ftcli.engine.interrupt import StopRequest
    from ftcli.engine.monitor import Watch
    from ftcli.engine.phase_data import Sources
    from ftcli.model.network import Network


@dataclass(frozen=True)
class RunPlace:
    """Where a run goes: `name` in `runs`, or what recipe and defaults say where they are None."""

    name: str | None = None
    runs: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Begun:
    """What a run that is resumed has done: its epochs, what its optimizer remembers, its wall time and notices."""

    records: tuple[EpochRecord, ...] = ()
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


_NOTHING = Begun()


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that one run works with."""

    preparation: Preparation
    run: RunDirectory
    network: Network
    sources: Sources
    inspected: Inspected
    compute: Compute
    supervision: Supervision
    trackers: Trackers
    request: StopRequest
    begun: Begun
    records: list[EpochRecord]
    notices: tuple[str, ...]
    held: Held | None = None

    @property
    def facts(self) -> dict[str, tuple[ImageFacts, ...]]:
        """What each image of train and val holds."""
        return self.inspected.facts

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.preparation.recipe

    @property
    def progress(self) -> Progress:
        """Who hears what happens."""
        return self.supervision.progress

    @property
    def kept(self) -> str:
        """Which epochs are written down, as part of a sentence."""
        return kept_epochs(self.records)

    def watch(self) -> Watch:
        """Return the watch after the epochs so far."""
        from ftcli.engine.monitor import Watch

        return reduce(lambda watch, record: watch.after(record), self.records, Watch(self.recipe.monitor))

    def seconds(self) -> float:
        """Return the wall time of the run so far, over all commands that worked on it."""
        return self.begun.seconds + self.supervision.clock.seconds

    def check_held(self) -> None:
        """Raise RunGoneError where the path of the run no longer leads to it; to be asked before writing."""
        assert self.held is not None, "a run is locked while it is trained"
        self.held.check()

    def stop_if_asked(self) -> None:
        """Raise InterruptedRunError when a signal has come, OutOfTimeError when the time is up."""
        stop_if_asked(self.request, self.supervision.clock, self.records)


def place_of(recipe: Recipe, config: Path, place: RunPlace) -> Path:
    """Return where the run goes, or those of several seeds, whether or not they may."""
    runs = place.runs if place.runs is not None else Path(recipe.runs_dir)
    return runs / (place.name or default_name(config, recipe.seeds or recipe.seed, datetime.now().astimezone()))


def make_job(
    preparation: Preparation,
    run: RunDirectory,
    network: Network,
    *,
    supervision: Supervision,
    begun: Begun = _NOTHING,
) -> Job:
    """Look at every image and get everything ready; nothing has been written then. Raises FtcliError."""
    from ftcli.data.loader import Images
    from ftcli.engine.device import pick_compute
    from ftcli.engine.extraction import fixed_views
    from ftcli.engine.interrupt import StopRequest
    from ftcli.engine.phase_data import Sources
    from ftcli.engine.probe import check_probe
    from ftcli.engine.setting import Listeners, Setting

    recipe = preparation.recipe
    clock, progress = supervision.clock, supervision.progress
    trackers = open_trackers(recipe.tracking, run, notice=progress.notice)
    compute = pick_compute(recipe.device, recipe.precision)
    for sentence in network.notices:
        progress.stage(sentence)
    count = sum(len(preparation.dataset.splits[split]) for split in ("train", "val"))
    progress.stage(f"checking {count} images")
    inspected = inspect_for_training(recipe, preparation.dataset, heard=progress.images)
    for sentence in inspected.notices:
        progress.notice(sentence)
    compute.place(network.module)
    for phase in preparation.plan.phases:
        if phase.solver == "lbfgs":
            check_probe(network, phase, rows=len(inspected.facts["train"]) * fixed_views(recipe.data))
    request, records = StopRequest(), list(begun.records)

    def on_rows(done: int, total: int) -> None:
        progress.features(done, total)
        stop_if_asked(request, clock, records)

    listeners = Listeners(notice=progress.notice, rows=on_rows)
    setting = Setting(network, recipe.data, seed=recipe.seed, compute=compute, listeners=listeners)
    images = {
        split: Images(inspected.dataset.splits[split], tuple(fact.sha256 for fact in of_split))
        for split, of_split in inspected.facts.items()
    }
    sources = Sources(setting, images)
    notices = begun.notices or (*preparation.notices, *network.notices, *inspected.notices)
    return Job(
        preparation,
        run,
        network,
        sources,
        inspected,
        compute,
        supervision,
        trackers,
        request,
        begun,
        records,
        notices,
    )


def create_directory(job: Job, *, overwrite: bool) -> int:
    """Make the run directory with what is known before training; return what `check_made` wants."""
    from ftcli.runs.dataset_file import dataset_json, hash_lines
    from ftcli.runs.environment import environment

    preparation, inspected, run = job.preparation, job.inspected, job.run
    machine = environment(str(job.compute.device), job.compute.precision)
    files = {
        run.recipe.name: recipe_text(job.recipe),
        run.plan.name: preparation.plan.to_json(preparation.parameters),
        run.dataset.name: dataset_json(inspected.dataset, inspected.facts, inspected.skipped, inspected.findings),
        run.train_images.name: hash_lines(inspected.facts["train"]),
        run.environment.name: {"format": FORMAT_VERSION, **machine},
    }
    return create(run, files, overwrite=overwrite)


def val_predictions(job: Job, probabilities: NDArray[np.float64]) -> Predictions:
    """Return predictions of the val images from their probabilities (N, classes)."""
    facts, dataset = job.facts["val"], job.inspected.dataset
    return Predictions(
        classes=dataset.classes,
        paths=tuple(fact.name for fact in facts),
        sha256=tuple(fact.sha256 for fact in facts),
        labels=np.array([sample.label for sample in dataset.splits["val"]], dtype=np.int64),
        probabilities=probabilities,
    )
