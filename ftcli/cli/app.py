"""The command line: its commands, the one place where errors are shown, and the exit code."""

from __future__ import annotations

import gc
import json
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from ftcli import __version__
from ftcli.cli.check import check
from ftcli.cli.compare import compare
from ftcli.cli.eval import evaluate
from ftcli.cli.export import export
from ftcli.cli.options import Json
from ftcli.cli.output import reaching_a_reader, show
from ftcli.cli.plan import plan
from ftcli.cli.predict import predict
from ftcli.cli.report import report
from ftcli.cli.resume import resume
from ftcli.cli.schema import schema
from ftcli.cli.train import train
from ftcli.cli.verify import verify
from ftcli.errors import FtcliError, InterruptedRunError, RunError, StoppedAtOnce, UsageError, failure_of
from ftcli.interrupt import ignore_signals, on_signals
from ftcli.records import SCHEMA
from ftcli.report.streams import encodable, let_go, open_missing_streams

app = typer.Typer(
    name="ftcli",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train an image classifier you can trust: one YAML recipe, one command, and the evidence with the result.",
    epilog="Exit codes: 0 done, 1 the run failed, 2 recipe or usage, 3 data, 4 a gate failed, "
    "130 or 143 interrupted after saving.",
)

app.command()(train)
app.command()(resume)
app.command()(plan)
app.command("eval")(evaluate)
app.command()(compare)
app.command()(predict)
app.command()(export)
app.command()(verify)
app.command()(check)
app.command()(report)
app.command()(schema)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: Json = False,
) -> None:
    """Handle the options before a command."""
    if version:
        show({"schema": SCHEMA, "version": __version__} if as_json else f"ftcli {__version__}")
        raise typer.Exit
    if as_json:
        raise typer.BadParameter("put --json after the command; only --version takes it before")
    if context.invoked_subcommand is None:
        show(context.get_help())


def main() -> NoReturn:
    """Run the command line; every error becomes a message on stderr and an exit code."""
    open_missing_streams()
    on_signals(_stop)
    gc.set_threshold(100_000, 50, 100)  # imports make much that stays: collecting as often as by default costs a second
    debug, as_json = "--debug" in sys.argv, "--json" in sys.argv
    try:
        try:
            code = app(standalone_mode=False)
        except Exception as error:  # noqa: BLE001 - the one boundary where errors are shown
            if debug:
                traceback.print_exc()
            code = _report(_known(error), as_json=as_json)
        ignore_signals()
    except StoppedAtOnce as stop:
        ignore_signals()
        stopped = InterruptedRunError(f"stopped by {stop.name}", signal_number=stop.signal_number)
        code = _report(stopped, as_json=as_json)
    _leave(code if isinstance(code, int) else 0)


def _known(error: Exception) -> FtcliError:
    """Return an error of ours for whatever was raised."""
    if isinstance(error, FtcliError):
        return error
    if isinstance(error, TyperException):
        if hint := _key_hint(error):
            return UsageError(error.message, hint=hint)
        return UsageError(error.format_message(), hint="See ftcli --help, or ftcli COMMAND --help.")
    if isinstance(error, Abort):
        return InterruptedRunError("interrupted", signal_number=signal.SIGINT)
    if failure := failure_of(error):
        return failure
    hint = "This is a bug in ftcli. Run the command again with --debug and report what it prints."
    return FtcliError(f"{type(error).__name__}: {error}", hint=hint)


def _key_hint(error: TyperException) -> str | None:
    """Return how to give a key of the recipe that was typed as an option, such as --epochs."""
    from ftcli.recipe.problems import keys_by_home

    name = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
    places = [place for place in keys_by_home().get(name, []) if "phases" not in place]
    return f"To override a key of the recipe, leave out the dashes: {places[0]}=VALUE" if places else None


def _report(error: FtcliError, *, as_json: bool) -> int:
    from ftcli.report.format import printable

    if as_json:
        message = f"{error.message}\n{error.hint}" if error.hint else error.message
        shown = {"kind": error.kind, "message": message, "where": error.where}
        text = json.dumps({"schema": SCHEMA, "error": shown})
    else:
        text = "\n".join(map(printable, f"error: {error}".split("\n")))  # file names may hold a terminal's commands
    try:
        print(encodable(text, sys.stderr), file=sys.stderr, flush=True)  # noqa: T201 - the boundary
    except OSError:
        let_go(sys.stderr)  # the exit code remains
    return error.exit_code


def _leave(code: int) -> NoReturn:
    """Exit once everything is printed; help, for one, is not printed by us."""
    try:
        with reaching_a_reader():
            pass
    except RunError as error:
        code = _report(error, as_json=False)
    sys.exit(code)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise StoppedAtOnce(number)
