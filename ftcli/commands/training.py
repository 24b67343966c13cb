"""Wires `ftcli train`: a recipe to a new run directory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ftcli.commands.driving import TrainResult, drive
from ftcli.commands.jobs import RunPlace, Supervision, create_directory, make_job, run_directory
from ftcli.commands.preparing import prepare
from ftcli.recipe_loading import load_recipe
from ftcli.run.directory import check_free, check_made
from ftcli.run.locking import exclusive


def train_recipe(config: Path, overrides: Sequence[str], *, place: RunPlace, supervision: Supervision) -> TrainResult:
    """Train what a recipe asks for into a new run directory.

    Everything that can be known to be wrong is found before the directory is made. Raises FtcliError; once there is
    a directory, it is valid at every instant.
    """
    recipe = load_recipe(config, overrides)
    run = run_directory(recipe, config, place)
    check_free(run, overwrite=place.overwrite)
    preparation = prepare(recipe)
    for sentence in preparation.notices:
        supervision.progress.notice(sentence)
    # It imports torch, which a wrong recipe must not wait for.
    from ftcli.commands.networks import build_recipe_network

    network = build_recipe_network(preparation.recipe, preparation.dataset.classes)
    job = make_job(preparation, run, network, supervision=supervision)
    with exclusive(run) if place.overwrite and run.path.is_dir() else nullcontext():  # nobody may be training it
        made = create_directory(job, overwrite=place.overwrite)
    with exclusive(run):
        check_made(run, made)
        return drive(job)
