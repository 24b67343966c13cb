"""Wires `ftcli train`: drives the engine through the plan and fills the run directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ftcli.commands.preparing import Preparation, prepare
from ftcli.errors import InterruptedRunError
from ftcli.evaluation.metrics import Evaluation, evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.plan import Plan
from ftcli.recipe import Recipe
from ftcli.recipe_loading import load_recipe, recipe_text
from ftcli.records import SCHEMA, EpochRecord, RunSummary, metrics_to_json
from ftcli.run.directory import FORMAT_VERSION, RunDirectory, check_free, create, default_name
from ftcli.run.files import duplicate, write_json
from ftcli.run.predictions_file import write_predictions

if TYPE_CHECKING:  # torch, which wrong recipes and names must not wait for
    from ftcli.data.inspection import ImageFacts
    from ftcli.engine.device import Compute
    from ftcli.engine.opening import Sources
    from ftcli.engine.stopping import StopRequest
    from ftcli.engine.training import Epoch, Training
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


@dataclass(frozen=True)
class TrainResult:
    """A finished run."""

    run: Path
    plan: Plan
    summary: RunSummary
    evaluation: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Return what `train --json` prints."""
        return {
            "schema": SCHEMA,
            "run": str(self.run),
            "best_epoch": self.summary.best_epoch,
            "epochs": self.summary.epochs,
            "metrics": metrics_to_json(self.summary.metrics),
            "seconds": self.summary.seconds,
        }


def train_recipe(config: Path, overrides: Sequence[str], *, place: RunPlace, progress: Progress) -> TrainResult:
    """Train what a recipe asks for into a new run directory.

    Everything that can be known to be wrong is found before the directory is made. Raises FtcliError; once there is
    a directory, it is valid at every instant.
    """
    started = time.perf_counter()
    recipe = load_recipe(config, overrides)
    run = _run_directory(recipe, config, place)
    check_free(run, overwrite=place.overwrite)
    preparation = prepare(config, overrides)
    for sentence in preparation.notices:
        progress.notice(sentence)
    job = _make_job(preparation, run, progress)
    _create_directory(job, overwrite=place.overwrite)
    progress.started(run.path, preparation.plan)
    from ftcli.engine.stopping import stop_request

    with stop_request() as request, job.sources:
        best, records = _train_phases(job, request)
    return _finish(job, best, records, started=started)


@dataclass(frozen=True, eq=False)
class _Job:
    """Everything that one run works with."""

    preparation: Preparation
    run: RunDirectory
    network: Network
    sources: Sources
    facts: dict[str, tuple[ImageFacts, ...]]
    compute: Compute
    progress: Progress
    notices: tuple[str, ...]

    @property
    def recipe(self) -> Recipe:
        return self.preparation.recipe


def _run_directory(recipe: Recipe, config: Path, place: RunPlace) -> RunDirectory:
    runs = place.runs if place.runs is not None else Path(recipe.runs_dir)
    return RunDirectory(runs / (place.name or default_name(config, recipe.seed, datetime.now().astimezone())))


def _make_job(preparation: Preparation, run: RunDirectory, progress: Progress) -> _Job:
    from ftcli.commands.networks import build_recipe_network
    from ftcli.data.cores import available_cores
    from ftcli.data.inspection import inspect_images
    from ftcli.engine.device import pick_compute
    from ftcli.engine.opening import Images, Listeners, Setting, Sources

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
    listeners = Listeners(notice=progress.notice, rows=progress.features)
    setting = Setting(network, recipe.data, seed=recipe.seed, compute=compute, listeners=listeners)
    images = {
        split: Images(dataset.splits[split], tuple(fact.sha256 for fact in of_split))
        for split, of_split in facts.items()
    }
    sources = Sources(setting, images)
    notices = (*preparation.notices, *network.notices)
    return _Job(preparation, run, network, sources, facts, compute, progress, notices)


def _create_directory(job: _Job, *, overwrite: bool) -> None:
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


@dataclass(frozen=True, eq=False)
class _Best:
    """The best epoch so far and what it predicted for val."""

    record: EpochRecord
    predictions: Predictions


def _train_phases(job: _Job, request: StopRequest) -> tuple[_Best, list[EpochRecord]]:
    """Run every phase, writing each epoch down as it ends."""
    from ftcli.engine.monitor import Watch
    from ftcli.engine.training import run_phase

    watch, best, records = Watch(job.recipe.monitor), None, list[EpochRecord]()
    training = _training(job, request, records)
    for index, phase in enumerate(job.preparation.plan.phases):
        first = len(records) + 1
        source = job.sources.open(phase, first_epoch=first)
        for epoch in run_phase(job.network, phase, source, index=index, first_epoch=first, training=training):
            watch = watch.after(epoch.record)
            records.append(epoch.record)
            is_best = watch.best_epoch == epoch.record.epoch
            best = _Best(epoch.record, _predictions(job, epoch)) if is_best else best
            _write_epoch(job, epoch.record, best if is_best else None)
            job.progress.epoch(epoch.record, best=is_best)
            if watch.is_over(phase.patience):
                break
    assert best is not None, "every plan has an epoch"
    return best, records


def _training(job: _Job, request: StopRequest, records: list[EpochRecord]) -> Training:
    from ftcli.engine.training import Training

    def on_batch(epoch: int, batch: int, batches: int) -> None:
        job.progress.batch(epoch, batch, batches)
        if request.signal_number is not None:
            raise _interrupted(job.run, request.signal_number, len(records))

    recipe = job.recipe
    return Training(
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        compute=job.compute,
        seed=recipe.seed,
        label_smoothing=recipe.label_smoothing,
        clip_grad_norm=recipe.clip_grad_norm,
        on_batch=on_batch,
    )


def _predictions(job: _Job, epoch: Epoch) -> Predictions:
    facts = job.facts["val"]
    return Predictions(
        classes=job.preparation.dataset.classes,
        paths=tuple(fact.name for fact in facts),
        sha256=tuple(fact.sha256 for fact in facts),
        labels=epoch.val_labels,
        probabilities=epoch.val_probabilities,
    )


def _write_epoch(job: _Job, record: EpochRecord, best: _Best | None) -> None:
    """Write one epoch: its line, its weights and, when it is the best so far, its predictions."""
    from ftcli.run.checkpoint import CheckpointInfo, save_checkpoint

    info = CheckpointInfo(
        model=job.network.name,
        classes=job.network.classes,
        spec=job.network.spec,
        recipe=job.recipe.model_dump(mode="json"),
        epoch=record.epoch,
        val=dict(record.val),
    )
    job.run.append(record)
    save_checkpoint(job.run.last, job.network.module.state_dict(), info)
    if best is not None:
        duplicate(job.run.last, job.run.best)
        write_predictions(job.run.predictions("val"), best.predictions)


def _finish(job: _Job, best: _Best, records: list[EpochRecord], *, started: float) -> TrainResult:
    """Score the best epoch with intervals and write the summary, whose presence says that the run is done."""
    evaluation = evaluate(best.predictions)
    training_seconds = sum(record.seconds for record in records)
    images = len(job.facts["train"]) * len(records)
    summary = RunSummary(
        best_epoch=best.record.epoch,
        epochs=len(records),
        monitor=job.recipe.monitor,
        metrics=evaluation.metrics,
        images=len(best.predictions),
        seconds=round(time.perf_counter() - started, 3),
        images_per_second=round(images / training_seconds, 1),
        notices=job.notices,
    )
    write_json(job.run.summary, summary.to_json())
    return TrainResult(job.run.path, job.preparation.plan, summary, evaluation)


def _interrupted(run: RunDirectory, signal_number: int, epochs: int) -> InterruptedRunError:
    kept = f"epochs 1 to {epochs} are kept in {run.path}" if epochs else f"no epoch was finished in {run.path}"
    return InterruptedRunError(f"stopped by signal {signal_number}; {kept}", signal_number=signal_number)
