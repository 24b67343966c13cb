"""Owns the commands that speak of recipes: train, plan and schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Config, Debug, Json, Overrides, Quiet
from ftcli.cli.output import marks, show, stderr, width


def train(
    config: Config,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the run directory. Default: recipe, time, seed.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Where run directories go. Default: the recipe's runs_dir.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train what a recipe asks for. The run directory is the last line of stdout."""
    if dry_run:
        plan(config, overrides, as_json=as_json, quiet=quiet, debug=debug)
        return
    from ftcli.commands.jobs import RunPlace
    from ftcli.commands.training import train_recipe
    from ftcli.report.progress import choose_progress
    from ftcli.report.runs import run_text

    _check_name(name)
    with choose_progress(stderr(), quiet=quiet) as progress:
        place = RunPlace(name=name, runs=runs, overwrite=overwrite)
        result = train_recipe(config, overrides or [], place=place, progress=progress)
    text = run_text(result.summary, result.evaluation, result.plan, result.records, marks=marks(), width=width())
    show(result.to_json() if as_json else f"{text}\n{result.run}")


def plan(
    config: Config,
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show which group trains when and at which rate; train nothing."""
    from ftcli.commands.planning import plan_recipe
    from ftcli.report.plans import plan_text
    from ftcli.report.progress import choose_progress

    result = plan_recipe(config, overrides or [])
    for sentence in result.preparation.notices:
        choose_progress(stderr(), quiet=quiet).notice(sentence)
    shown = result.preparation
    text = plan_text(shown.plan, shown.parameters, shown.batchnorm, result.forecasts, width=width())
    show(result.to_json() if as_json else text)


def schema(as_json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print the recipe's JSON schema, for editors."""
    from ftcli.commands.schema import recipe_schema

    show(recipe_schema() if as_json else json.dumps(recipe_schema(), indent=2))


def _check_name(name: str | None) -> None:
    if name is not None and (name != Path(name).name or name.startswith(".") or not name):
        raise typer.BadParameter(f"{name!r} is not a plain directory name; use --runs for the folder")
