"""Wires `ftcli train --resume`: a run's own recipe and what it has done so far to the rest of its training.

Owns what to say where a run's images are not found because the run began in another directory.

Owns what may be raised in a run that has begun, epochs and patience, and what follows from it.

Wires reading where a run stands: what its last checkpoint, and the files that follow from it, say of its epochs.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.prepare import Preparation, prepare
from ftcli.commands.training_run import (
    Begun,
    Job,
    TrainResult,
    drive,
    finished_result,
    make_job,
    write_best,
)
from ftcli.data.class_folders import is_folder
from ftcli.engine.interrupt import Supervision
from ftcli.errors import DatasetError, RunDirectoryError, UsageError
from ftcli.evaluation.compare.result import change_text, recipe_changes
from ftcli.phrases import count
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_from, recipe_text
from ftcli.records import EpochRecord
from ftcli.runs.directory import RunDirectory, open_run
from ftcli.runs.environment import read_environment
from ftcli.runs.files import (
    damaged,
    ensure_json,
    ensure_text,
    read_text,
    sweep,
    write_json,
    write_text,
)
from ftcli.runs.lock import exclusive
from ftcli.runs.predictions_file import read_predictions
from ftcli.runs.seeds_directory import SeedsDirectory
from ftcli.strategies import make_plan

if TYPE_CHECKING:
    from ftcli.runs.checkpoint import Checkpoint
    from ftcli.runs.resume_state import ResumeState


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


@contextmanager
def naming_where_it_began(run: RunDirectory, recipe: Recipe) -> Iterator[None]:
    """Let the error of a relative `data.root` that is not here, but where the run began, say so.

    A checkpoint that stands alone does not tell where that was, and the error stays as it is.
    """
    try:
        yield
    except DatasetError as error:
        root, began = Path(recipe.data.root), _directory(run)
        if Path(error.where or "") == root and not is_folder(root) and is_folder(began / root):
            error.hint = f"The run began in another directory; give the command there: cd {shlex.quote(str(began))}"
        raise


def _directory(run: RunDirectory) -> Path:
    """Return where a run began; here, where it does not tell or what it tells cannot be read."""
    try:
        return Path(str(run.facts(run.environment).get("directory", ".")))
    except RunDirectoryError:
        return Path()


Changes = Mapping[str, Mapping[str, Any]]
"""What a recipe was and has become, by dotted key: {"a", "b"}."""


def shared_recipe(directory: SeedsDirectory, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe of several seeds. Raises RunDirectoryError where it is missing, RecipeError for a damaged one."""
    if not directory.recipe.is_file():
        raise damaged(directory.recipe, "is missing")
    return load_recipe(directory.recipe, overrides)


def raised_keys(recipe: Recipe, raised: Recipe) -> Changes:
    """Return in what `raised` differs. Raises UsageError for all but higher epochs and patience."""
    changes = _difference(recipe, raised)
    for key, change in changes.items():
        before, now = change["a"], change["b"]
        if not _may_be_raised(key):
            raise UsageError(
                f"cannot change in a run that has begun; it is {json.dumps(before)}",
                where=key,
                hint="Only epochs and patience may be raised. Train a new run for anything else.",
            )
        if before is None or (now is not None and now < before):
            least = "null, which is never" if before is None else before
            raise UsageError(
                f"may be raised, not lowered; it is {least}", where=key, hint="Train a new run for less of it."
            )
    return changes


def _difference(a: Recipe, b: Recipe) -> Changes:
    return recipe_changes(*(_with_phases_by_number(recipe.model_dump(mode="json")) for recipe in (a, b)))


def _with_phases_by_number(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with a list of phases as a mapping from their numbers."""
    strategy = values["strategy"]
    phases = strategy.get("phases")
    numbered = {} if phases is None else {"phases": {str(number): phase for number, phase in enumerate(phases)}}
    return {**values, "strategy": {**strategy, **numbered}}


def foreign_keys(trained: Recipe, recipe: Recipe) -> list[str]:
    """Return the keys that are others in two recipes and may not be raised."""
    return [key for key in _difference(trained, recipe) if not _may_be_raised(key)]


def _may_be_raised(key: str) -> bool:
    return key.rpartition(".")[2] in {"epochs", "patience"}


def since_last_epoch(point: Point, raised: Recipe) -> Changes:
    """Return in what a recipe differs from that of the last epoch.

    So what was raised is written down by the next resume where a kill kept this one from it.
    """
    if point.checkpoint is None:
        return {}
    return _difference(recipe_from(point.checkpoint.info.recipe, source=str(point.checkpoint.path)), raised)


def check_history(preparation: Preparation, recipe: Recipe, records: Sequence[EpochRecord]) -> None:
    """Raise UsageError when what was raised changes a phase that is over because another one has begun."""
    plan = preparation.plan
    before = make_plan(recipe.strategy, plan.groups, epochs=recipe.total_epochs, patience=recipe.patience)
    begun = records[-1].phase_index if records else 0
    if begun >= len(plan.phases):
        raise RunDirectoryError(
            f"epoch {len(records)} is of phase {begun + 1}, and the recipe makes {len(plan.phases)}",
            hint="The files of the run do not belong together.",
        )
    for old, new in zip(before.phases[:begun], plan.phases[:begun], strict=True):
        if (old.epochs, old.lr) != (new.epochs, new.lr):
            raise UsageError(
                f"phase {old.name!r} is over, after {old.epochs} epochs; it cannot have {new.epochs}",
                where="epochs",
                hint="Raise the epochs of the phase that the run is in, or of a later one.",
            )


def told_of_raise(job: Job, changes: Changes) -> Job:
    """Tell, now and in the run's notices, that a raised one may not be what its recipe makes."""
    if not changes or not job.records:
        return job
    raised = ", ".join(change_text(key, change) for key, change in changes.items())
    sentence = (
        f"raised after epoch {len(job.records)}: {raised}. The rates of the epochs to come are those of the new "
        "recipe, so the result may differ from that of a run that had it from the start"
    )
    job.progress.notice(sentence)
    return replace(job, notices=(*job.notices, sentence))


class Point:
    """Where a run stands: its last checkpoint and the rest of what is known of that epoch, or neither."""

    def __init__(self, run: RunDirectory, checkpoint: Checkpoint | None, state: ResumeState | None) -> None:
        self.checkpoint, self.state = checkpoint, state
        self.records = () if state is None else (*_earlier(run, state.record.epoch - 1), state.record)

    @classmethod
    def read(cls, run: RunDirectory) -> Point:
        """Read a run. Raises CheckpointError or RunDirectoryError, naming the file that is missing or damaged."""
        from ftcli.runs.checkpoint import load_checkpoint
        from ftcli.runs.resume_state import load_state

        if not run.last.exists():
            _check_no_epoch(run)
            return cls(run, None, None)
        checkpoint = load_checkpoint(run.last)
        return cls(run, checkpoint, load_state(run, checkpoint.info.epoch))


def _check_no_epoch(run: RunDirectory) -> None:
    """Raise RunDirectoryError where the last checkpoint is gone rather than not yet written.

    A kill leaves nothing but the state of epoch 1 without it: all else of an epoch is written after it.
    """
    trace = _trace_of_epochs(run)
    if trace is not None:
        raise RunDirectoryError(
            f"is missing, though {trace}",
            where=str(run.last),
            hint="Without it the run cannot go on, and nothing was touched: restore it from a copy, or train a new run "
            "with the recipe.yaml of this one.",
        )


def _trace_of_epochs(run: RunDirectory) -> str | None:
    """Return what says that an epoch was finished, as part of a sentence."""
    text = read_text(run.metrics) if run.metrics.exists() else ""
    if text:
        return f"metrics.jsonl has {count(len(text.splitlines()), 'epoch')}"
    later = (path for path in run.checkpoints.glob("resume.*") if re.search(r"\.(?!1\.)\d+\.safetensors$", path.name))
    there = [path for path in (run.best, run.predictions("val"), run.summary, *later) if path.exists()]
    return f"{there[0].relative_to(run.path).as_posix()} is there" if there else None


def _earlier(run: RunDirectory, epochs: int) -> tuple[EpochRecord, ...]:
    """Return the records of the epochs before the last one; what follows them in the file does not count."""
    records = tuple(islice(run.records(), epochs)) if epochs else ()
    if [record.epoch for record in records] != list(range(1, epochs + 1)):
        raise RunDirectoryError(
            f"does not hold epochs 1 to {epochs}, one a line, though the last checkpoint is of epoch {epochs + 1}",
            where=str(run.metrics),
            hint="The file was cut or edited, so the run cannot be resumed.",
        )
    return records
