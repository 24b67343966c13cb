"""Wires `ftcli train --resume`: a run's own recipe and what it has done so far to the rest of its training."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftcli.commands.driving import TrainResult, drive, finished_result, write_best
from ftcli.commands.elsewhere import naming_where_it_began
from ftcli.commands.prepare import Preparation, prepare
from ftcli.commands.raising import (
    Changes,
    check_history,
    foreign_keys,
    raised_keys,
    shared_recipe,
    since_last_epoch,
    told_of_raise,
)
from ftcli.commands.standing import Point
from ftcli.commands.supervision import Supervision
from ftcli.commands.training_run import Begun, Job, make_job
from ftcli.errors import DatasetError, RunDirectoryError, UsageError
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_from, recipe_text
from ftcli.runs.directory import RunDirectory, open_run
from ftcli.runs.environment import read_environment
from ftcli.runs.files import ensure_json, ensure_text, sweep, write_json, write_text
from ftcli.runs.lock import exclusive
from ftcli.runs.predictions_file import read_predictions
from ftcli.runs.seeds_directory import SeedsDirectory


def resume_run(path: Path, overrides: Sequence[str], *, supervision: Supervision) -> TrainResult:
    """Train what is left of a run, from its last finished epoch on, with its own recipe.

    Of that, `overrides` may raise epochs and patience. One of several seeds goes on with the recipe that they share, in
    which these may have been raised since. Raises RunDirectoryError, naming the file, for a run that cannot be
    read, UsageError for any other override, and DatasetError when the images are not what they were.
    """
    run, place = open_run(path), path.resolve()
    home = SeedsDirectory(place.parent)
    recipe, raised = load_recipe(run.recipe), load_recipe(run.recipe, overrides)
    if not home.holds(place, seed=recipe.seed):
        return resume_with(run, raised, supervision)
    shared = shared_recipe(home).of_seed(recipe.seed)
    if raised_keys(recipe, raised) and raised != shared:
        raise UsageError(
            "is one of several seeds, which are to stay alike",
            where=str(path),
            hint=f"Raise it for all: {shlex.join(['ftcli', 'train', '--resume', str(_parent(path)), *overrides])}",
        )
    return resume_with(run, shared, supervision)


def _parent(path: Path) -> Path:
    """Return the folder that a path lies in, as the user would give it; of a link, that of what it leads to."""
    return path.resolve().parent if path.is_symlink() else path.parent


def resume_with(run: RunDirectory, raised: Recipe, supervision: Supervision) -> TrainResult:
    """Train what is left of a run with its own recipe, of which `raised` has more epochs or patience, or nothing."""
    recipe = load_recipe(run.recipe)
    changes = raised_keys(recipe, raised)
    with exclusive(run) as held:
        if run.summary.is_file() and not changes:
            run.check_whole()
            sweep(run.path)
            return finished_result(run, _prepare(run, recipe), notice=supervision.progress.notice)
        point = Point.read(run)
        run.check_whole()
        _check_recipe(run, recipe, point)
        preparation = _prepare(run, raised)
        check_history(preparation, recipe, point.records)
        changes = since_last_epoch(point, raised) or changes
        job = told_of_raise(_job(run, preparation, point, supervision), changes)
        _check_images(job)
        _check_best(job, point)
        _settle(job, point, changes)
        return drive(job, held)


def check_raised(run: RunDirectory, raised: Recipe) -> None:
    """Raise UsageError where a run cannot go on with this recipe, RunDirectoryError where it is damaged."""
    recipe = load_recipe(run.recipe)
    if raised_keys(recipe, raised):
        point = Point.read(run)
        run.check_whole()
        check_history(_prepare(run, raised), recipe, point.records)


def _prepare(run: RunDirectory, recipe: Recipe) -> Preparation:
    """Prepare a run's recipe; where its images are not found here, say where the run began."""
    with naming_where_it_began(run, recipe):
        return prepare(recipe)


def _check_recipe(run: RunDirectory, recipe: Recipe, point: Point) -> None:
    """Raise RunDirectoryError when the recipe is not the one that the last checkpoint was trained with."""
    if point.checkpoint is None:
        return
    trained = recipe_from(point.checkpoint.info.recipe, source=str(run.last))
    foreign = foreign_keys(trained, recipe)
    if foreign:
        raise RunDirectoryError(
            f"is not what the last checkpoint was trained with: {', '.join(foreign)}",
            where=str(run.recipe),
            hint="The files of the run do not belong together.",
        )


def _job(run: RunDirectory, preparation: Preparation, point: Point, supervision: Supervision) -> Job:
    """Build the network as the last checkpoint has it; where there is none, as the recipe does."""
    from ftcli.commands.networks import build_recipe_network
    from ftcli.model.network import restore_network

    classes = preparation.dataset.classes
    if point.checkpoint is None or point.state is None:
        supervision.progress.notice("no epoch was finished, so the run starts over")
        network = build_recipe_network(preparation.recipe, classes)
        return make_job(preparation, run, network, supervision=supervision)
    info = point.checkpoint.info
    if info.classes != classes or info.model != preparation.recipe.model.name:
        raise RunDirectoryError(
            f"is of a {info.model} for {', '.join(info.classes)}, which is not what the run's recipe and images say",
            where=str(run.last),
            hint="The files of the run do not belong together.",
        )
    state_dict = point.checkpoint.state_dict
    network = restore_network(
        info.model, classes=classes, spec=info.spec, state_dict=state_dict, origin=str(point.checkpoint.path)
    )
    begun = Begun(point.records, point.state.optimizer, point.state.seconds, point.state.notices)
    supervision.progress.stage(f"resuming after epoch {info.epoch}")
    return make_job(preparation, run, network, supervision=supervision, begun=begun)


def _check_images(job: Job) -> None:
    """Raise DatasetError when the images are not those that the run began with."""
    from ftcli.runs.dataset_file import dataset_json, read_dataset_json

    before, now = read_dataset_json(job.run), dataset_json(job.inspected.dataset, job.facts)
    for split, described in now["splits"].items():
        if before["splits"].get(split) != described:
            images = before["splits"].get(split, {}).get("images")
            raise DatasetError(
                f"the images of {split} are not those that the run began with, as dataset.json says: "
                f"{images} then, {described['images']} "
                "now, or other names or contents",
                where=str(job.inspected.dataset.root),
                hint="Bring them back as they were, or train a new run.",
            )


def _check_best(job: Job, point: Point) -> None:
    """Raise RunDirectoryError where the best epoch lacks its files; those of the last epoch are written anew."""
    from ftcli.runs.checkpoint import load_checkpoint

    best_epoch = job.watch().best_epoch
    if point.state is None or point.state.val_probabilities is not None or best_epoch == 0:
        return
    found = load_checkpoint(job.run.best).info.epoch
    if found != best_epoch:
        raise RunDirectoryError(
            f"is of epoch {found}, though {job.recipe.monitor} was best in epoch {best_epoch}",
            where=str(job.run.best),
            hint="The files of the run do not belong together.",
        )
    read_predictions(job.run.predictions("val"))


def _settle(job: Job, point: Point, changes: Changes) -> None:
    """Make every file of the run agree with its last checkpoint, and write down that it was resumed."""
    from ftcli.runs.dataset_file import hash_lines
    from ftcli.runs.environment import environment
    from ftcli.runs.resume_state import remove_states

    run = job.run
    sweep(run.path)
    run.reopen()
    if changes:
        write_text(run.recipe, recipe_text(job.recipe))  # from here on they count, and the rest follows
    ensure_json(run.plan, job.preparation.plan.to_json(job.preparation.parameters))
    ensure_text(run.train_images, hash_lines(job.facts["train"]))
    earlier = read_environment(run)
    now = environment(str(job.compute.device), job.compute.precision)
    resumed = {"after_epoch": len(job.records), "changes": changes, **now}
    _tell_differences(job, earlier, now)
    write_json(run.environment, {**earlier, "resumed": [*earlier.get("resumed", []), resumed]})
    run.cut_back(job.records)
    if point.state is not None and point.state.val_probabilities is not None:
        write_best(job, point.state.val_probabilities)  # it may have been stopped while they were written
    remove_states(run, but=len(job.records))


def _tell_differences(job: Job, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    before, after = earlier["versions"], now["versions"]
    changed = [f"{name} {before.get(name)} is now {after[name]}" for name in after if before.get(name) != after[name]]
    changed += [
        f"{what} {earlier[what]} is now {now[what]}" for what in ("device", "precision") if earlier[what] != now[what]
    ]
    if changed:
        job.progress.notice(f"the rest of the run may differ from an uninterrupted one: {', '.join(changed)}")
