"""`ftcli train`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, MaxMinutes, Overrides, Quiet
from ftcli.cli.output import show_trained
from ftcli.cli.plan import plan
from ftcli.cli.resume import resume as resume_command

_LONGEST_NAME_BYTES = 200
"""File systems allow 255; temporary names need some of them."""


def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="A YAML file. Omit it with --resume.")
    ] = None,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the run directory. Default: recipe, time, seed.")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder for run directories. Default: the recipe's runs_dir.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Resume this run, as `ftcli resume RUN` does.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Train one run per seed, in place of the recipe's seed or seeds."),
    ] = None,
    max_minutes: MaxMinutes = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train what a recipe asks for. The run directory is the last line of stdout."""
    started = time.monotonic()
    of_new_runs = {"--name": name, "--runs": runs, "--overwrite": overwrite, "--seeds": seeds}
    if resume is not None:
        _refuse({**of_new_runs, "--dry-run": dry_run}, "--resume: the run exists already")
        changes = [text for text in (recipe, *(overrides or ())) if text is not None]
        resume_command(resume, changes, max_minutes, as_json=as_json, quiet=quiet, debug=debug)
        return
    if recipe is None:
        raise typer.BadParameter("give a recipe, or --resume RUN to resume a run")
    if dry_run:
        _refuse({**of_new_runs, "--max-minutes": max_minutes is not None}, "--dry-run, which trains nothing")
        plan(Path(recipe), overrides, as_json=as_json, quiet=quiet, debug=debug)
        return
    _check_name(name)
    numbers = None if seeds is None else _numbers(seeds)
    from ftcli.commands.train import Target
    from ftcli.commands.train import train as train_recipe
    from ftcli.interrupt import Deadline
    from ftcli.report.progress import choose_progress

    with choose_progress(quiet=quiet) as progress:
        result = train_recipe(
            Path(recipe),
            overrides or [],
            target=Target(name, runs, overwrite),
            seeds=numbers,
            progress=progress,
            deadline=Deadline(started, None if max_minutes is None else 60 * max_minutes),
        )
    show_trained(result, as_json=as_json)


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise BadParameter for options that would be ignored."""
    for option, value in options.items():
        if value:
            raise typer.BadParameter(f"{option} cannot be combined with {reason}")


def _numbers(text: str) -> tuple[int, ...]:
    """Read the value of --seeds."""
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"--seeds takes whole numbers such as 0,1,2, not {text!r}")
    return tuple(int(part) for part in parts)


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if name != Path(name).name or name.startswith(".") or not name:
        raise typer.BadParameter(f"{name!r} is not a plain directory name; use --runs for the folder")
    if any(ord(character) < ord(" ") or character == "\x7f" for character in name):
        raise typer.BadParameter(f"{name!r} has control characters")
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        raise typer.BadParameter(f"the name has {len(os.fsencode(name))} bytes; at most {_LONGEST_NAME_BYTES} may be")
