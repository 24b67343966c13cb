"""Wires a recipe to everything that one run works with: network, images, sources and the run directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ftcli.commands.preparing import Preparation
from ftcli.errors import InterruptedRunError
from ftcli.plan import Plan
from ftcli.recipe import Recipe
from ftcli.recipe_loading import recipe_text
from ftcli.records import EpochRecord
from ftcli.run.directory import FORMAT_VERSION, RunDirectory, create, default_name

if TYPE_CHECKING:  # torch, which wrong recipes and names must not wait for
    from ftcli.data.inspection import ImageFacts
    from ftcli.engine.device import Compute
    from ftcli.engine.opening import Sources
    from ftcli.engine.stopping import StopRequest
    from ftcli.model.backbones import Network


class Progress(Protocol):
    """Hears what happens while a run is trained."""

    def notice(self, sentence: str) -> None:
        """Hear something that the user should know."""

    def stage(self, sentence: str) -> None:
        """Hear what is being done before training."""

    def started(self, run: Path, plan: Plan) -> None:
        """Hear that the run directory is there."""

    def features(self, done: int, total: int) -> None:
        """Hear how many views of images the frozen part has been computed for, of how many."""

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        """Hear that a training batch is done."""

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """Hear that an epoch is done."""


@dataclass(frozen=True)
class RunPlace:
    """Where a run goes: `name` in `runs`, or what recipe and defaults say where they are None."""

    name: str | None = None
    runs: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that one run works with."""

    preparation: Preparation
    run: RunDirectory
    network: Network
    sources: Sources
    facts: dict[str, tuple[ImageFacts, ...]]
    compute: Compute
    progress: Progress
    request: StopRequest
    records: list[EpochRecord]
    notices: tuple[str, ...]

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.preparation.recipe

    def stop_if_asked(self) -> None:
        """Raise InterruptedRunError when a signal has come; what is written stays valid."""
        stop_if_asked(self.request, self.run, self.records)


def run_directory(recipe: Recipe, config: Path, place: RunPlace) -> RunDirectory:
    """Return where the run goes, whether or not it may."""
    runs = place.runs if place.runs is not None else Path(recipe.runs_dir)
    return RunDirectory(runs / (place.name or default_name(config, recipe.seed, datetime.now().astimezone())))


def make_job(preparation: Preparation, run: RunDirectory, progress: Progress) -> Job:
    """Build the network and look at every image; nothing has been written then. Raises FtcliError."""
    from ftcli.commands.networks import build_recipe_network
    from ftcli.data.cores import available_cores
    from ftcli.data.inspection import inspect_images
    from ftcli.engine.device import pick_compute
    from ftcli.engine.features import fixed_views
    from ftcli.engine.opening import Images, Listeners, Setting, Sources
    from ftcli.engine.probing import check_probe
    from ftcli.engine.stopping import StopRequest

    recipe, dataset = preparation.recipe, preparation.dataset
    compute = pick_compute(recipe.device, recipe.precision)
    network = build_recipe_network(recipe, dataset.classes)
    for sentence in network.notices:
        progress.stage(sentence)
    count = sum(len(dataset.splits[split]) for split in ("train", "val"))
    progress.stage(f"checking {count} images")
    cores = available_cores()
    facts = {split: inspect_images(dataset.splits[split], workers=cores) for split in ("train", "val")}
    compute.place(network.module)
    for phase in preparation.plan.phases:
        if phase.solver == "lbfgs":
            check_probe(network, phase, rows=len(dataset.splits["train"]) * fixed_views(recipe.data))
    request, records = StopRequest(), list[EpochRecord]()

    def on_rows(done: int, total: int) -> None:
        progress.features(done, total)
        stop_if_asked(request, run, records)

    listeners = Listeners(notice=progress.notice, rows=on_rows)
    setting = Setting(network, recipe.data, seed=recipe.seed, compute=compute, listeners=listeners)
    images = {
        split: Images(dataset.splits[split], tuple(fact.sha256 for fact in of_split))
        for split, of_split in facts.items()
    }
    sources = Sources(setting, images)
    notices = (*preparation.notices, *network.notices)
    return Job(preparation, run, network, sources, facts, compute, progress, request, records, notices)


def create_directory(job: Job, *, overwrite: bool) -> None:
    """Make the run directory with what is known before training."""
    from ftcli.run.dataset_file import dataset_json
    from ftcli.run.environment import environment

    preparation, run = job.preparation, job.run
    machine = environment(str(job.compute.device), job.compute.precision)
    files = {
        run.recipe.name: recipe_text(job.recipe),
        run.plan.name: preparation.plan.to_json(preparation.parameters),
        run.dataset.name: dataset_json(preparation.dataset, job.facts),
        run.environment.name: {"format": FORMAT_VERSION, **machine},
    }
    create(run, files, overwrite=overwrite)


def stop_if_asked(request: StopRequest, run: RunDirectory, records: list[EpochRecord]) -> None:
    """Raise InterruptedRunError, saying what is kept, when a signal has come."""
    if request.signal_number is None:
        return
    kept = f"epochs 1 to {len(records)} are kept in {run.path}" if records else f"no epoch was finished in {run.path}"
    raise InterruptedRunError(f"stopped by signal {request.signal_number}; {kept}", signal_number=request.signal_number)
