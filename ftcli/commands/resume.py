"""`ftcli resume`: trains what is left of a run, or of the runs of several seeds, with their own recipe."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.prepare import Prepared, directory_where_began, initial_network, inspect, prepare
from ftcli.commands.report import add_report
from ftcli.commands.resume_changes import (
    Changes,
    check_history,
    foreign_keys,
    raised_keys,
    raised_notice,
    since_last_epoch,
)
from ftcli.commands.seeds import SeedsResult, train_each
from ftcli.commands.training_run import TrainingRun, TrainResult, judged
from ftcli.errors import DatasetError, RunDirectoryError, UsageError
from ftcli.evaluation.evaluate import evaluate
from ftcli.interrupt import Deadline
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_from, recipe_text
from ftcli.records import Progress
from ftcli.runs.create import put_back
from ftcli.runs.directory import RunDirectory, open_run
from ftcli.runs.environment import read_environment
from ftcli.runs.files import damaged, ensure_json, ensure_text, sweep, write_json, write_text
from ftcli.runs.lock import exclusive
from ftcli.runs.past import Past, read_past
from ftcli.runs.predictions_file import read_predictions
from ftcli.runs.seeds_directory import SeedsDirectory, holds_seeds

if TYPE_CHECKING:  # torch, which a wrong override must not wait for
    from ftcli.model.network import Network

_MIXED = "The files of the run do not belong together."


def resume(
    path: Path, overrides: Sequence[str], *, progress: Progress, deadline: Deadline
) -> TrainResult | SeedsResult:
    """Train what is left of a run, or of those of several seeds, from the last finished epoch on.

    `overrides` may raise epochs and patience. Raises RunDirectoryError, naming the file, for a run that cannot be
    read, UsageError for any other override, and DatasetError when the images have changed.
    """
    put_back(path)
    if holds_seeds(path):
        return _resume_seeds(SeedsDirectory(path), overrides, progress=progress, deadline=deadline)
    run = open_run(path)
    recipe = load_recipe(run.recipe)
    raised = load_recipe(run.recipe, overrides) if overrides else recipe
    resume_path, place = path, path.resolve()
    home = SeedsDirectory(place.parent)
    if home.holds(place, seed=recipe.seed):
        shared = _shared_recipe(home).of_seed(recipe.seed)
        if raised_keys(recipe, raised) and raised != shared:
            raise UsageError(
                "is one of several seeds, whose runs must stay alike",
                where=str(path),
                hint=f"Raise it for all: {shlex.join(['ftcli', 'resume', str(_parent(path)), *overrides])}",
            )
        raised = shared
    return _resume_run(run, recipe, raised, resume_path=resume_path, progress=progress, deadline=deadline)


def _parent(path: Path) -> Path:
    """Return the folder of a path as the user would give it; for a link, that of its target."""
    return path.resolve().parent if path.is_symlink() else path.parent


def _shared_recipe(directory: SeedsDirectory, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe of several seeds. Raises RunDirectoryError if it is missing, RecipeError if it is damaged."""
    if not directory.recipe.is_file():
        raise damaged(directory.recipe, "is missing")
    return load_recipe(directory.recipe, overrides)


def _resume_run(
    run: RunDirectory, recipe: Recipe, raised: Recipe, *, resume_path: Path, progress: Progress, deadline: Deadline
) -> TrainResult:
    """Train what is left of a run with its own recipe, or with `raised`, which has more epochs or patience."""
    changes, began = raised_keys(recipe, raised), directory_where_began(run)
    with exclusive(run) as lock:
        if run.summary.is_file() and not changes:  # whatever its arithmetic: no weight changes any more
            run.check_whole()
            sweep(run.path)
            return _finished(run, prepare(recipe, began=began), progress)
        _check_arithmetic(run)
        past = read_past(run)
        run.check_whole()
        _check_recipe(run, recipe, past)
        prepared = prepare(raised, began=began)
        check_history(prepared.plan, recipe, past.records)
        changes = since_last_epoch(past, raised) or changes
        network = _network(run, prepared, past, progress)
        prepared = inspect(prepared, progress)
        _check_images(run, prepared)
        training = TrainingRun(
            run,
            prepared,
            network,
            progress=progress,
            deadline=deadline,
            resume_path=resume_path,
        ).reopen(lock, past)
        _check_best(training, past)
        if changes and past.records:
            training.add_notice(raised_notice(changes, after=len(past.records)))
        _settle(training, past, changes)
        with training:
            for epoch in training.epochs():
                training.write(epoch)
            return training.finish()


def _finished(run: RunDirectory, prepared: Prepared, progress: Progress) -> TrainResult:
    """Return the result of a finished run; make its page if it was killed just before that."""
    predictions = read_predictions(run.predictions("val"))
    evaluation = evaluate(predictions)
    summary = judged(run.read_summary(), evaluation, prepared.recipe, run)
    if prepared.recipe.report and not run.report.is_file():
        add_report(run, predictions, evaluation, notice=progress.notice)
    return TrainResult(
        run.path,
        prepared.plan,
        tuple(run.records()),
        summary,
        evaluation,
        remark=f"{run.path} is finished; raise epochs or patience to train it further",
    )


def _resume_seeds(
    directory: SeedsDirectory, overrides: Sequence[str], *, progress: Progress, deadline: Deadline
) -> SeedsResult:
    """Train what is left of the runs of several seeds; wrong overrides are refused before any run is resumed."""

    def train(seed: int, deadline: Deadline) -> TrainResult:
        run, recipe = directory.run(seed), raised.of_seed(seed)
        if run.path.is_dir():
            own = load_recipe(open_run(run.path).recipe)
            return _resume_run(run, own, recipe, resume_path=directory.path, progress=progress, deadline=deadline)
        prepared = prepare(recipe)
        network = initial_network(prepared.recipe, prepared.dataset.classes, progress)
        prepared = inspect(prepared, progress)
        new = TrainingRun(run, prepared, network, progress=progress, deadline=deadline, resume_path=directory.path)
        with new.create() as training:
            for epoch in training.epochs():
                training.write(epoch)
            return training.finish()

    with exclusive(directory) as lock:
        raised = _raise_for_all(directory, overrides)
        return train_each(directory, directory.seeds(), train, lock=lock, progress=progress, deadline=deadline)


def _raise_for_all(directory: SeedsDirectory, overrides: Sequence[str]) -> Recipe:
    """Return the recipe of all seeds with the overrides; where these raise something, write it down first.

    Raises RunDirectoryError, unless nothing is left to train, if a run began with another arithmetic: seeds are alike.
    """
    recipe = _shared_recipe(directory)
    raised = _shared_recipe(directory, overrides) if overrides else recipe
    is_raised = bool(raised_keys(recipe, raised))
    if is_raised or not all(directory.run(seed).summary.is_file() for seed in directory.seeds()):
        for run in directory.runs():
            _check_arithmetic(run)
    if is_raised:
        for run in directory.runs():
            own = load_recipe(open_run(run.path).recipe)
            of_seed = raised.of_seed(own.seed)
            if raised_keys(own, of_seed):
                past = read_past(run)
                run.check_whole()
                prepared = prepare(of_seed, began=directory_where_began(run))
                check_history(prepared.plan, own, past.records)
        directory.write_summary(directory.seeds())
        write_text(directory.recipe, recipe_text(raised))
    return raised


def _check_arithmetic(run: RunDirectory) -> None:
    """Raise RunDirectoryError for a run that began with another arithmetic, as those of other versions may have."""
    from ftcli.engine.loop import ARITHMETIC

    began_with = read_environment(run).get("arithmetic", 1)  # the first version that recorded a number had 2
    if began_with != ARITHMETIC:
        raise RunDirectoryError(
            "cannot be resumed: another version of ftcli began this run, and training in this version gives other "
            f"weights (arithmetic {began_with}, now {ARITHMETIC})",
            where=str(run.path),
            hint=f"Train its recipe.yaml again, or start a new run from its weights: model.weights={run.path}",
        )


def _check_recipe(run: RunDirectory, recipe: Recipe, past: Past) -> None:
    """Raise RunDirectoryError if the last checkpoint was trained with another recipe."""
    if past.checkpoint is None:
        return
    trained = recipe_from(past.checkpoint.info.recipe, source=str(run.last))
    if foreign := foreign_keys(trained, recipe):
        raise RunDirectoryError(
            f"is not what the last checkpoint was trained with: {', '.join(foreign)}",
            where=str(run.recipe),
            hint=_MIXED,
        )


def _network(run: RunDirectory, prepared: Prepared, past: Past, progress: Progress) -> Network:
    """Build the network with the weights of the last checkpoint, or before the first epoch with its initial ones."""
    from ftcli.model.network import restore_network

    classes = prepared.dataset.classes
    if past.checkpoint is None:
        progress.notice("no epoch was finished, so the run starts over")
        return initial_network(prepared.recipe, classes, progress)
    info = past.checkpoint.info
    if info.classes != classes or info.model != prepared.recipe.model.name:
        raise RunDirectoryError(
            f"is of a {info.model} for {', '.join(info.classes)}, which does not match the run's recipe and images",
            where=str(run.last),
            hint=_MIXED,
        )
    progress.stage(f"resuming after epoch {info.epoch}")
    return restore_network(
        info.model,
        classes=classes,
        spec=info.spec,
        state_dict=past.checkpoint.state_dict,
        origin=str(past.checkpoint.path),
    )


def _check_images(run: RunDirectory, prepared: Prepared) -> None:
    """Raise DatasetError if the images have changed since the run began."""
    from ftcli.runs.dataset_file import dataset_json, read_dataset_json

    before, now = read_dataset_json(run)["splits"], dataset_json(prepared.dataset, prepared.facts)["splits"]
    for split, described in now.items():
        if before.get(split) != described:
            images = before.get(split, {}).get("images")
            raise DatasetError(
                f"the images of {split} have changed since the run began: dataset.json has {images}, now there are "
                f"{described['images']}, or names or contents differ",
                where=str(prepared.dataset.root),
                hint="Restore them, or train a new run.",
            )


def _check_best(training: TrainingRun, past: Past) -> None:
    """Raise RunDirectoryError if the best epoch lacks its files; those of the last epoch are written again."""
    from ftcli.runs.checkpoint import load_checkpoint

    run, best_epoch = training.directory, training.watch.best_epoch
    if past.state is None or past.state.val_probabilities is not None or best_epoch == 0:
        return
    found = load_checkpoint(run.best).info.epoch
    if found != best_epoch:
        raise RunDirectoryError(
            f"is of epoch {found}, although {training.recipe.monitor} was best in epoch {best_epoch}",
            where=str(run.best),
            hint=_MIXED,
        )
    read_predictions(run.predictions("val"))


def _settle(training: TrainingRun, past: Past, changes: Changes) -> None:
    """Make every file of the run agree with its last checkpoint, and write down that it was resumed."""
    from ftcli.runs.dataset_file import hash_lines
    from ftcli.runs.resume_state import remove_states

    run, prepared = training.directory, training.prepared
    sweep(run.path)
    run.reopen()
    if changes:
        write_text(run.recipe, recipe_text(training.recipe))  # from here on they count, and the rest follows
    ensure_json(run.plan, prepared.plan.to_json(prepared.parameters))
    ensure_text(run.train_images, hash_lines((fact.sha256, fact.name) for fact in prepared.facts["train"]))
    earlier, now = read_environment(run), training.machine
    if differences := _differences(earlier, now):
        training.progress.notice(f"the rest of the run may differ from an uninterrupted one: {', '.join(differences)}")
    resumed = {"after_epoch": len(training.records), "changes": changes, **now}
    write_json(run.environment, {**earlier, "resumed": [*earlier.get("resumed", []), resumed]})
    run.cut_back(training.records)
    if past.state is not None and past.state.val_probabilities is not None:
        training.write_best(past.state.val_probabilities)  # it may have been stopped while they were written
    remove_states(run, but=len(training.records))


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return which versions, device, precision or number of threads have changed: "torch 2.14 is now 2.15".

    Threads share out the sums of a gradient on a CPU, so that its last bits depend on their number.
    """
    earlier = {"threads": now["threads"], **earlier}  # a run need not have recorded them
    before, after = earlier["versions"], now["versions"]
    changed = [f"{name} {before.get(name)} is now {after[name]}" for name in after if before.get(name) != after[name]]
    return changed + [
        f"{what} {earlier[what]} is now {now[what]}"
        for what in ("device", "precision", "threads")
        if earlier[what] != now[what]
    ]
