"""`ftcli report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN...]", help="Run directories, or directories of several seeds; the first is the baseline."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the page. Default: report.html in the run; for several runs, in the current folder.",
        ),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write the curves as PNG files (needs the extra plots).")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page about a run, or one that compares several.

    The path of the page is the last line of stdout.
    """
    from ftcli.commands.report import report_runs

    result = report_runs(runs, out=out, pictures=png)
    show(result.to_json() if as_json else "\n".join(map(str, (*result.pictures, result.page))))
