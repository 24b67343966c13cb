"""Owns the commands that speak of recipes: train, plan and schema."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftcli.cli.options import Config, Debug, Json, OptionalConfig, Overrides, Quiet
from ftcli.cli.output import marks, show, stderr, width

if TYPE_CHECKING:
    from ftcli.commands.seeds import SeedsResult
    from ftcli.commands.training_run import TrainResult

_LONGEST_NAME_BYTES = 200
"""File systems take 255, of which temporary names need some."""


def train(
    config: OptionalConfig = None,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the run directory. Default: recipe, time, seed.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Where run directories go. Default: the recipe's runs_dir.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with this run; KEY=VALUE may raise epochs and patience."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Train one run for each of these seeds, in place of the recipe's."),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many minutes, saving, with exit code 0.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train what a recipe asks for. The run directory is the last line of stdout."""
    started = time.monotonic()
    if resume is not None:
        given = [text for text in (config, *(overrides or ())) if text is not None]
        others = {"--name": name, "--runs": runs, "--overwrite": overwrite, "--dry-run": dry_run, "--seeds": seeds}
        _check_resume(given, others)
    elif config is None:
        raise typer.BadParameter("give a recipe, or --resume RUN to go on with a run")
    _check_name(name)
    numbers = None if seeds is None else _numbers(seeds)
    if dry_run:
        plan(Path(config or ""), overrides, as_json=as_json, quiet=quiet, debug=debug)
        return
    from ftcli.commands.seeds import load_for_training, resume_runs, train_runs
    from ftcli.commands.training_run import RunPlace
    from ftcli.engine.interrupt import Clock, Supervision
    from ftcli.evaluation.gates import raise_failed
    from ftcli.recipe.loading import naming_places
    from ftcli.report.progress import choose_progress

    clock = Clock(started, None if max_minutes is None else 60 * max_minutes)
    place = RunPlace(name=name, runs=runs, overwrite=overwrite)
    with choose_progress(stderr(), quiet=quiet) as progress:
        supervision = Supervision(progress, clock)
        if resume is not None:
            result = resume_runs(resume, given, supervision=supervision)
        else:
            recipe = load_for_training(Path(config or ""), overrides or [], numbers)
            with naming_places(Path(config or ""), overrides or []):
                result = train_runs(recipe, Path(config or ""), place=place, supervision=supervision)
    show(result.to_json() if as_json else _text(result))
    raise_failed(result.gates)


def plan(
    config: Config,
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show which group trains when and at which rate; train nothing."""
    from ftcli.commands.plan import plan_recipe
    from ftcli.report.progress import choose_progress
    from ftcli.report.text.plan import plan_text

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


def _text(result: TrainResult | SeedsResult) -> str:
    """Return what came of training, with the directory as the last line."""
    from ftcli.commands.seeds import SeedsResult
    from ftcli.report.format import gate_text, unchecked_text
    from ftcli.report.text.train import run_text, seeds_text

    texts = [] if result.remark is None else [result.remark]
    if isinstance(result, SeedsResult):
        summaries = [each.summary for each in result.results]
        texts.append(seeds_text(result.seeds, summaries, result.spread, width=width()))
        texts += [
            f"seed {seed}: {gate_text(gate)}"
            for seed, each in zip(result.seeds, result.results, strict=False)
            for gate in each.gates
        ]
    else:
        if result.summary is not None and result.evaluation is not None:
            told = (result.summary, result.evaluation, result.plan, result.records)
            texts.append(run_text(*told, marks=marks(), width=width()))
        texts += map(gate_text, result.gates)
    if result.unchecked:
        texts.append(unchecked_text(result.unchecked))
    return "\n".join([*texts, str(result.run)])


def _numbers(text: str) -> tuple[int, ...]:
    """Read the value of --seeds."""
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"--seeds takes whole numbers such as 0,1,2, not {text!r}")
    return tuple(int(part) for part in parts)


def _check_resume(given: list[str], others: Mapping[str, object]) -> None:
    """Raise BadParameter for what cannot stand beside --resume."""
    for text in given:
        if "=" not in text:
            raise typer.BadParameter(f"{text!r}: --resume takes the run's own recipe, and overrides such as epochs=20")
    for option, value in others.items():
        if value:
            raise typer.BadParameter(f"{option} cannot stand beside --resume: the run is there already")


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if name != Path(name).name or name.startswith(".") or not name:
        raise typer.BadParameter(f"{name!r} is not a plain directory name; use --runs for the folder")
    if any(ord(character) < ord(" ") or character == "\x7f" for character in name):
        raise typer.BadParameter(f"{name!r} has control characters")
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        raise typer.BadParameter(f"the name has {len(os.fsencode(name))} bytes; at most {_LONGEST_NAME_BYTES} may be")
