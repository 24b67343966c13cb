"""Wires `ftcli train`: a recipe to a new run directory."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from ftcli.commands.prepare import Preparation, prepare, refuse_among_images
from ftcli.commands.training_run import Job, RunPlace, TrainResult, create_directory, drive, make_job, place_of
from ftcli.engine.interrupt import Supervision
from ftcli.recipe.keys import Recipe
from ftcli.runs.create import check_free, check_made
from ftcli.runs.directory import RunDirectory
from ftcli.runs.lock import exclusive


def train_recipe(recipe: Recipe, config: Path, *, place: RunPlace, supervision: Supervision) -> TrainResult:
    """Train what the recipe of the file `config` asks for into a new run directory.

    Everything that can be known to be wrong is found before the directory is made. Raises FtcliError; once there is
    a directory, it is valid at every instant.
    """
    run = RunDirectory(place_of(recipe, config, place))
    check_free(run, overwrite=place.overwrite)
    preparation = prepare(recipe)
    refuse_among_images(run.path, preparation.dataset)
    for sentence in preparation.notices:
        supervision.progress.notice(sentence)
    return begin(get_ready(run, preparation, supervision), overwrite=place.overwrite)


def get_ready(run: RunDirectory, preparation: Preparation, supervision: Supervision) -> Job:
    """Build the network of a new run and look at its images; nothing has been written then. Raises FtcliError."""
    # It imports torch, which a wrong recipe must not wait for.
    from ftcli.commands.networks import build_recipe_network

    network = build_recipe_network(preparation.recipe, preparation.dataset.classes)
    return make_job(preparation, run, network, supervision=supervision)


def begin(job: Job, *, overwrite: bool) -> TrainResult:
    """Make the run directory of a job and train. Raises FtcliError."""
    run = job.run
    with exclusive(run) if overwrite and run.path.is_dir() else nullcontext():  # nobody may be training it
        made = create_directory(job, overwrite=overwrite)
    with exclusive(run) as held:
        check_made(run, made)
        return drive(job, held)
