"""Owns the commands that speak of images: check."""

from __future__ import annotations

from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show, stderr, width


def check(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A folder with train/ and val/, one of class folders, or a recipe.")
    ],
    group_by: Annotated[
        str | None, typer.Option(help="Regular expression of what belongs together, as data.group_by.")
    ] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share held out where there is no val/.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look for bad images, copies, leaks between splits, wrong labels and imbalance.

    Exit code 3 where an error was found; warnings are shown.
    """
    from ftcli.commands.check import CheckOptions, check_dataset
    from ftcli.report.progress import choose_progress
    from ftcli.report.text.check import check_text

    with choose_progress(stderr(), quiet=quiet) as progress:
        result = check_dataset(dataset, CheckOptions(val_fraction, group_by), progress=progress)
    if as_json:
        show(result.to_json())
    else:
        show(check_text(result.root, result.contents, result.findings, embeddings=result.embeddings, width=width()))
    raise typer.Exit(result.exit_code)
