"""Owns the command line: flags in, one call, one renderer, an exit code."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from ftcli import __version__
from ftcli.errors import FtcliError, InterruptedRunError, UsageError
from ftcli.records import SCHEMA

app = typer.Typer(
    name="ftcli",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train an image classifier you can trust: one YAML recipe, one command, and the evidence beside the result.",
    epilog="Exit codes: 0 done, 1 the run failed, 2 recipe or usage, 3 data, 4 a gate failed, "
    "130 or 143 interrupted after saving.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; warnings and errors stay.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A recipe: a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides such as epochs=3 strategy.lr=0.01."),
]


@app.command()
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
    with choose_progress(_stderr(), quiet=quiet) as progress:
        place = RunPlace(name=name, runs=runs, overwrite=overwrite)
        result = train_recipe(config, overrides or [], place=place, progress=progress)
    text = run_text(result.summary, result.evaluation, result.plan, width=_width())
    _show(result.to_json() if as_json else f"{text}\n{result.run}")


@app.command()
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
        choose_progress(_stderr(), quiet=quiet).notice(sentence)
    shown = result.preparation
    text = plan_text(shown.plan, shown.parameters, shown.batchnorm, result.forecasts, width=_width())
    _show(result.to_json() if as_json else text)


@app.command("eval")
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A run directory (its best checkpoint) or a checkpoint.")],
    data: Annotated[Path | None, typer.Option(help="Score these images: class folders, or a root with splits.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test. Default: val.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write every prediction to this CSV file.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: the recipe's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. Default: the recipe's.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score a checkpoint on images: a split of its dataset, or a folder.

    It needs nothing but the checkpoint and the images.
    """
    from ftcli.commands.evaluating import Scoring, evaluate_checkpoint
    from ftcli.report.tables import evaluation_text
    from ftcli.report.wording import VAL_CHOSE_THE_EPOCH

    scoring = Scoring(data=data, split=split, batch_size=batch_size, device=device, predictions=predictions)
    result = evaluate_checkpoint(checkpoint, scoring)
    notes = (VAL_CHOSE_THE_EPOCH,) if result.chose_epoch else ()
    text = evaluation_text(result.evaluation, notes=notes, width=_width())
    _show(result.to_json() if as_json else f"{result.checkpoint} on {result.source}\n\n{text}")


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_A RUN_B [RUN...]", help="Run directories; the first is the baseline."),
    ],
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare runs on the images that they share."""
    from ftcli.commands.compare import compare_runs
    from ftcli.report.tables import comparison_text

    result = compare_runs(runs)
    texts = [comparison_text(pair.comparison, pair.recipe_changes, width=_width()) for pair in result.pairs]
    _show(result.to_json() if as_json else "\n\n".join(texts))


@app.command()
def schema(as_json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print the recipe's JSON schema, for editors."""
    from ftcli.commands.schema import recipe_schema

    _show(recipe_schema() if as_json else json.dumps(recipe_schema(), indent=2))


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Handle what stands before any command."""
    if version:
        _show(f"ftcli {__version__}")
    elif context.invoked_subcommand is None:
        _show(context.get_help())


def main() -> NoReturn:
    """Run the command line; every error becomes a sentence on stderr and an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    gc.set_threshold(100_000, 50, 100)  # imports make much that stays: collecting as often as by default costs a second
    debug, as_json = "--debug" in sys.argv, "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the one boundary where errors are shown
        if debug:
            traceback.print_exc()
        code = _report(_known(error), as_json=as_json)
    except KeyboardInterrupt:
        code = _report(InterruptedRunError("interrupted", signal_number=signal.SIGINT), as_json=as_json)
    _leave(code if isinstance(code, int) else 0)


def _known(error: Exception) -> FtcliError:
    """Return an error of ours for whatever was raised."""
    if isinstance(error, FtcliError):
        return error
    if isinstance(error, TyperException):
        return UsageError(error.format_message(), hint="See ftcli --help, or ftcli COMMAND --help.")
    if isinstance(error, Abort):
        return InterruptedRunError("interrupted", signal_number=signal.SIGINT)
    hint = "This is a bug in ftcli. Run the command again with --debug and report what it prints."
    return FtcliError(f"{type(error).__name__}: {error}", hint=hint)


def _report(error: FtcliError, *, as_json: bool) -> int:
    if as_json:
        message = f"{error.message}\n{error.hint}" if error.hint else error.message
        shown = {"kind": error.kind, "message": message, "where": error.where}
        text = json.dumps({"schema": SCHEMA, "error": shown})
    else:
        text = f"error: {error}"
    print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)  # noqa: T201 - the boundary
    return error.exit_code


def _show(result: dict[str, Any] | str) -> None:
    """Print a result on stdout: text, or one JSON object on one line."""
    text = result if isinstance(result, str) else json.dumps(result, allow_nan=False)
    print(text.encode("utf-8", "backslashreplace").decode())  # noqa: T201 - results go to stdout


def _leave(code: int) -> NoReturn:
    """Exit, and do not complain when nobody reads the output any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise InterruptedRunError("stopped by SIGTERM", signal_number=number)


def _check_name(name: str | None) -> None:
    if name is not None and (name != Path(name).name or name.startswith(".") or not name):
        raise typer.BadParameter(f"{name!r} is not a plain directory name; use --runs for the folder")


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 120)
