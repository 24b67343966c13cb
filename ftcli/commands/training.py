"""Wires `ftcli train`: drives the engine through the plan and fills the run directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.jobs import Job, Progress, RunPlace, create_directory, make_job, run_directory
from ftcli.commands.preparing import prepare
from ftcli.evaluation.metrics import Evaluation, evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.plan import Plan
from ftcli.recipe_loading import load_recipe
from ftcli.records import SCHEMA, EpochRecord, RunSummary, metrics_to_json
from ftcli.run.directory import check_free
from ftcli.run.files import duplicate
from ftcli.run.predictions_file import write_predictions

if TYPE_CHECKING:  # torch, which wrong recipes and names must not wait for
    from ftcli.engine.training import Epoch, Training


@dataclass(frozen=True)
class TrainResult:
    """A finished run."""

    run: Path
    plan: Plan
    records: tuple[EpochRecord, ...]
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
    run = run_directory(recipe, config, place)
    check_free(run, overwrite=place.overwrite)
    preparation = prepare(recipe)
    for sentence in preparation.notices:
        progress.notice(sentence)
    job = make_job(preparation, run, progress)
    create_directory(job, overwrite=place.overwrite)
    progress.started(run.path, preparation.plan)
    with job.request.listening(), job.sources:
        best = _train_phases(job)
    return _finish(job, best, started=started)


@dataclass(frozen=True, eq=False)
class _Best:
    """The best epoch so far and what it predicted for val."""

    record: EpochRecord
    predictions: Predictions


def _train_phases(job: Job) -> _Best:
    """Run every phase, writing each epoch down as it ends."""
    from ftcli.engine.monitor import Watch
    from ftcli.engine.probing import run_probe
    from ftcli.engine.training import run_phase

    watch, best = Watch(job.recipe.monitor), None
    training = _training(job)
    for index, phase in enumerate(job.preparation.plan.phases):
        first = len(job.records) + 1
        source = job.sources.open(phase, first_epoch=first)
        run = run_phase if phase.solver == "sgd" else run_probe
        for epoch in run(job.network, phase, source, index=index, first_epoch=first, training=training):
            watch = watch.after(epoch.record)
            job.records.append(epoch.record)
            is_best = watch.best_epoch == epoch.record.epoch
            best = _Best(epoch.record, _predictions(job, epoch)) if is_best else best
            _write_epoch(job, epoch.record, best if is_best else None)
            job.progress.epoch(epoch.record, best=is_best)
            if watch.is_over(phase.patience):
                break
    assert best is not None, "every plan has an epoch"
    return best


def _training(job: Job) -> Training:
    from ftcli.engine.training import Training

    def on_batch(epoch: int, batch: int, batches: int) -> None:
        job.progress.batch(epoch, batch, batches)
        job.stop_if_asked()

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


def _predictions(job: Job, epoch: Epoch) -> Predictions:
    facts = job.facts["val"]
    return Predictions(
        classes=job.preparation.dataset.classes,
        paths=tuple(fact.name for fact in facts),
        sha256=tuple(fact.sha256 for fact in facts),
        labels=epoch.val_labels,
        probabilities=epoch.val_probabilities,
    )


def _write_epoch(job: Job, record: EpochRecord, best: _Best | None) -> None:
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


def _finish(job: Job, best: _Best, *, started: float) -> TrainResult:
    """Score the best epoch with intervals and write the summary, whose presence says that the run is done."""
    evaluation = evaluate(best.predictions)
    training_seconds = sum(record.seconds for record in job.records)
    images = len(job.facts["train"]) * len(job.records)
    summary = RunSummary(
        best_epoch=best.record.epoch,
        epochs=len(job.records),
        monitor=job.recipe.monitor,
        metrics=evaluation.metrics,
        images=len(best.predictions),
        seconds=round(time.perf_counter() - started, 3),
        images_per_second=round(images / training_seconds, 1),
        notices=job.notices,
    )
    job.run.finish(summary)
    return TrainResult(job.run.path, job.preparation.plan, tuple(job.records), summary, evaluation)
