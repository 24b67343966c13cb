"""Wires a recipe to everything that one run works with: network, images, sources and the run directory.

Wires the engine to the run directory: drives it through the plan, writing each epoch down as it ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftcli.commands.prepare import Inspected, Preparation, inspect_for_training
from ftcli.commands.report import add_report
from ftcli.data.dataset import VAL
from ftcli.engine.interrupt import (
    OutOfTimeError,
    Progress,
    Supervision,
    kept_epochs,
    stop_if_asked,
    stop_if_signalled,
)
from ftcli.errors import (
    DataError,
    InterruptedRunError,
    NonFiniteLossError,
    RunError,
    RunGoneError,
    StoppedAtOnce,
    WorkerError,
    failure_of,
)
from ftcli.evaluation.evaluate import Evaluation, evaluate
from ftcli.evaluation.gates import check_expectations, unchecked
from ftcli.evaluation.predictions import Predictions
from ftcli.plan import Plan
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import recipe_text
from ftcli.records import SCHEMA, EpochRecord, Gate, RunSummary, metrics_to_json
from ftcli.runs.create import create
from ftcli.runs.directory import FORMAT_VERSION, RunDirectory, default_name
from ftcli.runs.files import duplicate
from ftcli.runs.lock import Held
from ftcli.runs.predictions_file import read_predictions, write_predictions
from ftcli.tracking.trackers import Trackers, open_trackers

if TYPE_CHECKING:
    from torch import Tensor

    from ftcli.data.inspection import ImageFacts
    from ftcli.engine.device import Compute
    from ftcli.engine.interrupt import StopRequest
    from ftcli.engine.loop import Epoch, Start, Training
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
    from ftcli.engine.extraction import Listeners, Setting, fixed_views
    from ftcli.engine.interrupt import StopRequest
    from ftcli.engine.phase_data import Sources
    from ftcli.engine.probe import check_probe

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
    labels = [sample.label for sample in dataset.splits["val"]]
    return Predictions.of(dataset.classes, facts, labels, probabilities)


@dataclass(frozen=True)
class TrainResult:
    """A run that is finished or, with a `remark` that says why, is not; without any epoch it has no summary."""

    run: Path
    plan: Plan
    records: tuple[EpochRecord, ...]
    summary: RunSummary | None
    evaluation: Evaluation | None
    finished: bool = True
    remark: str | None = None

    @property
    def gates(self) -> tuple[Gate, ...]:
        """What the recipe expects of the validation images; nothing is judged before the run is finished."""
        return self.summary.gates if self.finished and self.summary is not None else ()

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What the recipe expects of other images, by name."""
        return self.summary.unchecked if self.finished and self.summary is not None else ()

    def to_json(self) -> dict[str, Any]:
        """Return what `train --json` prints."""
        summary = self.summary
        return {
            "schema": SCHEMA,
            "run": str(self.run),
            "finished": self.finished,
            "best_epoch": None if summary is None else summary.best_epoch,
            "epochs": 0 if summary is None else summary.epochs,
            "metrics": {} if summary is None else metrics_to_json(summary.metrics),
            "seconds": None if summary is None else summary.seconds,
            "gates": [gate.to_json() for gate in self.gates],
            "unchecked": list(self.unchecked),
        }


def drive(job: Job, held: Held) -> TrainResult:
    """Run what is left of the plan of a run that is locked. Raises FtcliError; the run is valid at every instant.

    When the time is up, what is written stays, and the result says that the run is not finished.
    """
    job = replace(job, held=held)
    job.progress.started(job.run.path, job.preparation.plan)
    with job.trackers as trackers:
        trackers.begin(job.recipe.model_dump(mode="json"), job.records)
        result = _drive(job)
        if result.finished and result.summary is not None:
            trackers.finish(result.summary)
    return result


def _drive(job: Job) -> TrainResult:
    """Train, and write down what came of it."""
    try:
        _train(job)
        return _finished(job)
    except OutOfTimeError:
        return _unfinished(job)
    except InterruptedRunError as error:
        error.hint = resume_hint(job.run.path)
        raise
    except StoppedAtOnce as stop:  # by a second signal, or once nobody listens any more
        raise InterruptedRunError(
            f"stopped at once by {stop.name}; {job.kept}",
            signal_number=stop.signal_number,
            hint=resume_hint(job.run.path),
        ) from stop
    except Exception as error:
        failure = error if isinstance(error, (RunError, DataError)) else failure_of(error)
        if failure is None or isinstance(failure, (NonFiniteLossError, RunGoneError)):
            raise
        failure.hint = f"{failure.hint or 'Put that right.'} {resume_hint(job.run.path)}"
        if failure is error:
            raise
        raise failure from error


def _train(job: Job) -> None:
    """Run what is left of the plan. Raises InterruptedRunError for a signal, OutOfTimeError when the time is up."""
    try:
        with job.request.listening(), job.sources:
            _train_phases(job)
    except Exception as error:
        if isinstance(error, WorkerError) or isinstance(failure_of(error), WorkerError):
            stop_if_signalled(job.request, job.records)  # `timeout` and systemd send it to the workers, too
        raise
    stop_if_signalled(job.request, job.records)  # one that came after the last batch; other seeds may follow


def _finished(job: Job) -> TrainResult:
    """Write down how a run ended whose plan is done."""
    job.check_held()
    predictions = read_predictions(job.run.predictions("val"))
    summary, evaluation = _summary(job, predictions)
    job.run.finish(summary)
    if job.recipe.report:
        add_report(job.run, predictions, evaluation, notice=job.progress.notice)
    records = tuple(job.records)
    return TrainResult(job.run.path, job.preparation.plan, records, summary, evaluation)


def finished_result(run: RunDirectory, preparation: Preparation, *, notice: Callable[[str], None]) -> TrainResult:
    """Return the result of a run that is finished already, and make its page where there is none yet.

    `notice` hears why where that fails. Raises RunDirectoryError for files that are damaged.
    """
    remark = f"{run.path} is finished; epochs and patience may be raised to go on"
    predictions = read_predictions(run.predictions("val"))
    evaluation = evaluate(predictions)
    summary = _judged(run.read_summary(), evaluation, preparation.recipe, run)
    if preparation.recipe.report and not run.report.is_file():  # it was killed just before
        add_report(run, predictions, evaluation, notice=notice)
    return TrainResult(run.path, preparation.plan, tuple(run.records()), summary, evaluation, remark=remark)


def _judged(summary: RunSummary, evaluation: Evaluation, recipe: Recipe, run: RunDirectory) -> RunSummary:
    """Return a summary with what the recipe expects; those of older versions were written without."""
    return replace(
        summary,
        gates=check_expectations(recipe.expect, evaluation, split=VAL, run=str(run.path)),
        unchecked=unchecked(recipe.expect, split=VAL),
    )


def resume_hint(path: Path) -> str:
    """Say how to go on with a run."""
    return f"Go on with: ftcli train --resume {shlex.quote(str(path))}"


def _train_phases(job: Job) -> None:
    """Run every phase that is not over, from where it stands."""
    from ftcli.engine.loop import run_phase
    from ftcli.engine.probe import run_probe

    watch, training = job.watch(), _training(job)
    for index, phase in enumerate(job.preparation.plan.phases):
        start = _start(job, index)
        over = watch.phase_index > index or (watch.phase_index == index and watch.is_over(phase.patience))
        if over or start.epochs_done >= phase.epochs:
            continue
        source = job.sources.open(phase, first_epoch=start.first_epoch)
        run = run_phase if phase.solver == "sgd" else run_probe
        for epoch in run(job.network, phase, source, start=start, training=training):
            watch = watch.after(epoch.record)
            is_best = watch.best_epoch == epoch.record.epoch
            _write_epoch(job, epoch, is_best=is_best)
            job.trackers.epoch(epoch.record)
            job.progress.epoch(epoch.record, best=is_best)
            if watch.is_over(phase.patience):
                break


def _start(job: Job, index: int) -> Start:
    from ftcli.engine.loop import Start

    of_phase = [record.phase_index for record in job.records].count(index)
    before = sum(record.phase_index < index for record in job.records)
    return Start(index, before + 1, of_phase, job.begun.optimizer if of_phase else {})


def _training(job: Job) -> Training:
    from ftcli.engine.loop import Training

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


def _write_epoch(job: Job, epoch: Epoch, *, is_best: bool) -> None:
    """Write one epoch: what a resume needs, its weights, which make it count, and then what follows from them."""
    from ftcli.runs.checkpoint import CheckpointInfo, save_checkpoint
    from ftcli.runs.resume_state import ResumeState, remove_states, save_state

    job.check_held()
    run, record = job.run, epoch.record
    info = CheckpointInfo(
        model=job.network.name,
        classes=job.network.classes,
        spec=job.network.spec,
        recipe=job.recipe.model_dump(mode="json"),
        epoch=record.epoch,
        val=dict(record.val),
    )
    probabilities = epoch.val_probabilities if is_best else None
    save_state(run, ResumeState(record, job.seconds(), job.notices, epoch.optimizer, probabilities))
    save_checkpoint(run.last, job.network.module.state_dict(), info)
    job.records.append(record)
    run.append(record)
    if is_best:
        write_best(job, epoch.val_probabilities)
    remove_states(run, but=record.epoch)


def write_best(job: Job, val_probabilities: NDArray[np.float64]) -> None:
    """Make the last checkpoint the best one, with what it predicted for val (N, classes)."""
    duplicate(job.run.last, job.run.best)
    write_predictions(job.run.predictions("val"), val_predictions(job, val_probabilities))


def _summary(job: Job, predictions: Predictions) -> tuple[RunSummary, Evaluation]:
    """Score the best epoch, from its predictions as they were written."""
    evaluation = evaluate(predictions)
    training_seconds = sum(record.seconds for record in job.records)
    images = len(job.facts["train"]) * len(job.records)
    summary = RunSummary(
        best_epoch=job.watch().best_epoch,
        epochs=len(job.records),
        monitor=job.recipe.monitor,
        metrics=evaluation.metrics,
        images=len(job.facts["val"]),
        seconds=round(job.seconds(), 3),
        images_per_second=round(images / training_seconds, 1),
        notices=job.notices,
        skipped_images=len(job.inspected.skipped),
    )
    return _judged(summary, evaluation, job.recipe, job.run), evaluation


def _unfinished(job: Job) -> TrainResult:
    remark = f"the time is up; {job.kept}. {resume_hint(job.run.path)}"
    predictions = read_predictions(job.run.predictions("val")) if job.records else None
    summary, evaluation = (None, None) if predictions is None else _summary(job, predictions)
    records = tuple(job.records)
    return TrainResult(job.run.path, job.preparation.plan, records, summary, evaluation, finished=False, remark=remark)
