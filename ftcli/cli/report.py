"""Owns the command that makes pages: report."""

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
            metavar="RUN [RUN...]", help="Run directories, or those of several seeds; the first is the baseline."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: report.html in the run, or here for several runs."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the curves as PNG files, too (needs the extra plots)."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page that holds everything about a run, or compares several.

    The path of the page is the last line of stdout.
    """
    from ftcli.commands.report import report_runs

    result = report_runs(runs, out=out, pictures=png)
    show(result.to_json() if as_json else "\n".join(map(str, (*result.pictures, result.page))))
