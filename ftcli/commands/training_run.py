"""One run while it is trained: its lock, network, data and epochs so far, and how each epoch reaches the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ftcli.commands.prepare import Prepared, data_settings
from ftcli.commands.report import add_report
from ftcli.data.dataset import VAL
from ftcli.errors import (
    DataError,
    FtcliError,
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
from ftcli.interrupt import Deadline, OutOfTimeError, StopRequest
from ftcli.phrases import count, resume_hint
from ftcli.plan import Plan
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import recipe_text
from ftcli.records import SCHEMA, EpochRecord, Gate, Progress, RunSummary
from ftcli.runs.create import check_made, create
from ftcli.runs.directory import FORMAT_VERSION, RunDirectory
from ftcli.runs.files import duplicate
from ftcli.runs.lock import RunLock, exclusive
from ftcli.runs.past import Past
from ftcli.runs.predictions_file import as_kept, read_predictions, write_predictions
from ftcli.tracking.trackers import open_trackers

if TYPE_CHECKING:  # torch, which wrong recipes and names must not wait for
    from ftcli.engine.loop import Epoch, Start, TrainSettings
    from ftcli.engine.phase_data import DataOpener
    from ftcli.model.network import Network


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
        """What the recipe expects of the validation images; empty until the run is finished."""
        return self.summary.gates if self.finished and self.summary is not None else ()

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The names of what the recipe expects of other images."""
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
            "metrics": {} if summary is None else asdict(summary)["metrics"],
            "never_predicted": [each.name for each in self.evaluation.never_predicted] if self.evaluation else [],
            "seconds": None if summary is None else summary.seconds,
            "gates": [asdict(gate) for gate in self.gates],
            "unchecked": list(self.unchecked),
        }


class TrainingRun:
    """A run that is locked and being trained.

    As a context it listens to signals and the deadline, and keeps workers, cache and trackers open. An error that
    leaves it says what is kept and how to resume; the directory is valid at every instant.

        with TrainingRun(directory, prepared, network, progress=progress, deadline=deadline).create() as run:
            for epoch in run.epochs():
                run.write(epoch)
            return run.finish()
    """

    def __init__(
        self,
        directory: RunDirectory,
        prepared: Prepared,
        network: Network,
        *,
        progress: Progress,
        deadline: Deadline,
        resume_path: Path | None = None,
    ) -> None:
        """Get everything ready; nothing is written. Raises UsageError or ModelError for what cannot be trained.

        `resume_path` is what `ftcli resume` takes: the run itself, or the directory of several seeds.
        """
        from ftcli.engine.device import pick_compute
        from ftcli.engine.monitor import Watch

        self.directory = directory
        self.prepared = prepared
        self.network = network
        self.progress = progress
        self.records: list[EpochRecord] = []
        self.watch = Watch(prepared.recipe.monitor)
        self.notices = (*prepared.notices, *network.notices)
        self.hint = resume_hint(resume_path or directory.path)
        self._lock: RunLock | None = None
        self._deadline = deadline
        self._past = Past()
        self._request = StopRequest()
        self._out_of_time = False
        self._open = ExitStack()
        self._trackers = open_trackers(self.recipe.tracking, directory, notice=progress.notice)
        self._compute = pick_compute(self.recipe.device, self.recipe.precision)
        self._compute.place(network.module)
        self._opener = self._make_opener()

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.prepared.recipe

    @property
    def machine(self) -> dict[str, Any]:
        """What environment.json says of this machine and command."""
        import torch

        from ftcli.engine.loop import ARITHMETIC
        from ftcli.runs.environment import environment

        device, precision = str(self._compute.device), self._compute.precision
        return environment(device, precision, arithmetic=ARITHMETIC, threads=torch.get_num_threads())

    def create(self, *, overwrite: bool = False) -> Self:
        """Make the run directory and lock it.

        Raises RunError where the network cannot be saved, and RunDirectoryError where another process was faster.
        """
        from ftcli.runs.checkpoint import check_saving
        from ftcli.runs.dataset_file import dataset_json, hash_lines

        check_saving(self.network)
        run, prepared = self.directory, self.prepared
        files = {
            run.recipe.name: recipe_text(self.recipe),
            run.plan.name: prepared.plan.to_json(prepared.parameters),
            run.dataset.name: dataset_json(
                prepared.dataset, prepared.facts, prepared.skipped, prepared.findings, prepared.earlier
            ),
            run.train_images.name: hash_lines((fact.sha256, fact.name) for fact in prepared.facts["train"]),
            run.environment.name: {"format": FORMAT_VERSION, **self.machine},
        }
        if prepared.earlier is not None and prepared.earlier.images:
            files[run.weights_images.name] = hash_lines(prepared.earlier.images.items())
        # No other process may be training the run that is replaced.
        with exclusive(run) if overwrite and run.path.is_dir() else nullcontext():
            made = create(run, files, overwrite=overwrite)
        with ExitStack() as opened:
            self._lock = opened.enter_context(exclusive(run))
            check_made(run, made)
            self._open = opened.pop_all()
        return self

    def reopen(self, lock: RunLock, past: Past) -> Self:
        """Continue a run that exists, has been locked, and has a past."""
        from ftcli.engine.monitor import Watch

        self._lock, self._past = lock, past
        self.records = list(past.records)
        self.watch = reduce(Watch.after, past.records, self.watch)
        self.notices = past.notices or self.notices
        return self

    def __enter__(self) -> Self:
        self.progress.stage(f"training into {self.directory.path}")
        self._open.enter_context(self._trackers)
        self._trackers.begin(self.recipe.model_dump(mode="json"), self.records)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, error, trace)
        except Exception as late:  # torch raises for a dead worker at any moment, also while this run is closed
            if error is None or self._resumable(error) is None:
                if self._resumable(late) is None:
                    raise
                error = late
        if error is not None and (resumable := self._resumable(error)) is not None:
            raise resumable from error

    def epochs(self) -> Iterator[Epoch]:
        """Yield each epoch of the plan that is left, to be written before the next one; fewer when the time is up.

        Raises InterruptedRunError after a signal.
        """
        from ftcli.engine.solvers import run_phase

        try:
            with self._request.listening(), self._opener:
                for index, phase in enumerate(self.prepared.plan.phases):
                    start = self._start(index)
                    if self._is_over(index) or start.epochs_done >= phase.epochs:
                        continue
                    settings = self._train_settings(index)
                    for epoch in run_phase(self.network, phase, self._opener, start=start, settings=settings):
                        yield epoch
                        if self._is_over(index):
                            break
        except OutOfTimeError:
            self._out_of_time = True
        except Exception as error:
            if isinstance(error, WorkerError) or isinstance(failure_of(error), WorkerError):
                self._stop_if_signalled()  # `timeout` and systemd send the signal to the workers, too
            raise
        self._stop_if_signalled()  # one that came after the last batch; other seeds may follow

    def _is_over(self, index: int) -> bool:
        """Return whether a later phase has begun, or this one has exhausted its patience and annealed its rates."""
        from ftcli.engine.optimizers import annealing_epochs

        exhausted = self._exhausted_after(index)
        if exhausted is None:
            return self.watch.phase_index > index
        return len(self.watch.waits) >= exhausted + annealing_epochs(self.recipe.schedule)

    def _exhausted_after(self, index: int) -> int | None:
        """Return after how many epochs of the current phase its patience was exhausted; None before, and of others."""
        patience = self.prepared.plan.phases[index].patience
        return self.watch.exhausted_after(patience) if self.watch.phase_index == index else None

    def write(self, epoch: Epoch) -> None:
        """Write one epoch: what a resume needs, its weights, which make it count, and then what follows from them."""
        from ftcli.runs.checkpoint import CheckpointInfo, check_saved, save_checkpoint
        from ftcli.runs.resume_state import ResumeState, remove_states, save_state

        self._check_lock()
        run, record = self.directory, epoch.record
        watch = self.watch.after(record)
        is_best = watch.best_epoch == record.epoch
        info = CheckpointInfo(
            model=self.network.name,
            classes=self.network.classes,
            spec=self.network.spec,
            recipe=self.recipe.model_dump(mode="json"),
            epoch=record.epoch,
            val=dict(record.val),
        )
        probabilities = as_kept(epoch.val_probabilities) if is_best else None
        save_state(run, ResumeState(record, self._seconds(), self.notices, epoch.optimizer, probabilities))
        save_checkpoint(run.last, self.network.module.state_dict(), info)
        if not self.records:
            check_saved(run.last, self.network)
        self.records.append(record)
        self.watch = watch
        run.append(record)
        if probabilities is not None:
            self.write_best(probabilities)
        remove_states(run, but=record.epoch)
        self._trackers.epoch(record)
        self.progress.epoch(record, epochs=self.prepared.plan.epochs, best=is_best)

    def write_best(self, val_probabilities: NDArray[np.float64]) -> None:
        """Make the last checkpoint the best one, with what it predicted for val (N, classes)."""
        duplicate(self.directory.last, self.directory.best)
        facts, dataset = self.prepared.facts[VAL], self.prepared.dataset
        labels = [sample.label for sample in dataset.splits[VAL]]
        predictions = Predictions.of(dataset.classes, facts, labels, val_probabilities)
        write_predictions(self.directory.predictions(VAL), predictions)

    def finish(self) -> TrainResult:
        """Write down how the run ended, with its page; a run that is out of time stays unfinished."""
        if self._out_of_time:
            return self._unfinished()
        self._check_lock()
        run, recipe = self.directory, self.recipe
        predictions = read_predictions(run.predictions(VAL))
        summary, evaluation = self._summary(predictions)
        run.finish(summary)
        if recipe.report:
            add_report(run, predictions, evaluation, notice=self.progress.notice)
        self._trackers.finish(summary)
        return TrainResult(run.path, self.prepared.plan, tuple(self.records), summary, evaluation)

    def add_notice(self, text: str) -> None:
        """Warn now, and in the run's summary and page."""
        self.notices = (*self.notices, text)
        self.progress.notice(text)

    def _make_opener(self) -> DataOpener:
        from ftcli.data.loader import Images
        from ftcli.engine.phase_data import DataOpener
        from ftcli.engine.solvers import SOLVERS

        prepared, settings = self.prepared, data_settings(self.recipe)
        for phase in prepared.plan.phases:
            SOLVERS[phase.solver].check(self.network, phase, len(prepared.facts["train"]) * settings.different_views)
        images = {
            split: Images.labelled(prepared.dataset.splits[split], [fact.sha256 for fact in of_split])
            for split, of_split in prepared.facts.items()
        }
        return DataOpener(
            self.network, images, settings, self._compute, notice=self.progress.notice, on_rows=self._on_rows
        )

    def _train_settings(self, index: int) -> TrainSettings:
        from ftcli.engine.loop import TrainSettings

        recipe = self.recipe
        return TrainSettings(
            optimizer=recipe.optimizer,
            batchnorm=recipe.model.batchnorm,
            schedule=recipe.schedule,
            compute=self._compute,
            seed=recipe.seed,
            label_smoothing=recipe.label_smoothing,
            clip_grad_norm=recipe.clip_grad_norm,
            on_batch=self._on_batch,
            exhausted_after=lambda: self._exhausted_after(index),
        )

    def _start(self, index: int) -> Start:
        from ftcli.engine.loop import Start

        of_phase = [record.phase_index for record in self.records].count(index)
        before = sum(record.phase_index < index for record in self.records)
        return Start(index, before + 1, of_phase, self._past.optimizer if of_phase else {})

    def _on_rows(self, done: int, total: int) -> None:
        if done == 0:
            self.progress.stage(f"computing the frozen part once, for {count(total, 'view')} of images")
        self.progress.step("features", done, total)
        self._stop_if_asked()

    def _on_batch(self, epoch: int, batch: int, batches: int) -> None:
        if batch < batches:
            self.progress.step(f"epoch {epoch}", batch, batches)
        else:
            self.progress.step(f"epoch {epoch}: scoring val", 0, None)
        self._stop_if_asked()

    def _seconds(self) -> float:
        """Return the wall time of the run so far, over all commands that worked on it."""
        return self._past.seconds + self._deadline.seconds

    def _check_lock(self) -> None:
        assert self._lock is not None, "a run is locked while it is trained"
        self._lock.check()

    def _kept(self) -> str:
        return f"epochs 1 to {len(self.records)} are kept" if self.records else "no epoch was finished"

    def _stop_if_signalled(self) -> None:
        if self._request.signal_number is not None:
            stop = StoppedAtOnce(self._request.signal_number)
            raise InterruptedRunError(
                f"stopped by {stop.name}; {self._kept()}", signal_number=stop.signal_number, hint=self.hint
            )

    def _stop_if_asked(self) -> None:
        self._stop_if_signalled()
        if self._deadline.is_over:
            raise OutOfTimeError

    def _resumable(self, error: BaseException) -> FtcliError | None:
        """Return an error that says what is kept and how to resume; None where resuming would not help."""
        if isinstance(error, StoppedAtOnce):  # a second signal, or one outside `listening`
            return InterruptedRunError(
                f"stopped at once by {error.name}; {self._kept()}", signal_number=error.signal_number, hint=self.hint
            )
        failure: FtcliError | None = error if isinstance(error, RunError | DataError) else None
        if failure is None and isinstance(error, Exception):
            failure = failure_of(error)
        if failure is None or isinstance(failure, NonFiniteLossError | RunGoneError):
            return None
        return failure.with_hint(f"{failure.hint or 'Fix that first.'} {self.hint}")

    def _summary(self, predictions: Predictions) -> tuple[RunSummary, Evaluation]:
        """Score the best epoch, from its predictions as they were written."""
        evaluation = evaluate(predictions)
        training_seconds = sum(record.seconds + record.features_seconds for record in self.records)
        images = len(self.prepared.facts["train"]) * len(self.records)
        summary = RunSummary(
            best_epoch=self.watch.best_epoch,
            epochs=len(self.records),
            monitor=self.recipe.monitor,
            metrics=evaluation.metrics,
            images=len(self.prepared.facts[VAL]),
            seconds=round(self._seconds(), 3),
            images_per_second=round(images / training_seconds, 1),
            notices=self.notices,
            skipped_images=len(self.prepared.skipped),
        )
        return judged(summary, evaluation, self.recipe, self.directory), evaluation

    def _unfinished(self) -> TrainResult:
        predictions = read_predictions(self.directory.predictions(VAL)) if self.records else None
        summary, evaluation = (None, None) if predictions is None else self._summary(predictions)
        return TrainResult(
            self.directory.path,
            self.prepared.plan,
            tuple(self.records),
            summary,
            evaluation,
            finished=False,
            remark=f"the time is up; {self._kept()}. {self.hint}",
        )


def judged(summary: RunSummary, evaluation: Evaluation, recipe: Recipe, run: RunDirectory) -> RunSummary:
    """Return a summary with what the recipe expects of val; older versions wrote it without."""
    return replace(
        summary,
        gates=check_expectations(recipe.expect, evaluation, split=VAL, run=str(run.path)),
        unchecked=unchecked(recipe.expect, split=VAL),
    )
