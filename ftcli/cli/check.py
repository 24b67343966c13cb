"""`ftcli check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show, show_sections


def check(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A folder with train/ and val/, one of class folders, or a recipe.")
    ],
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Regex that extracts a cluster id (e.g. patient) from the file path, as data.group_by does; "
            "clusters must not span splits."
        ),
    ] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="Share of train to hold out without a val/ folder.")
    ] = None,
    keep_together: Annotated[
        str | None,
        typer.Option(
            metavar="[identical|similar]",
            help="What a cut of val keeps together: identical files, or near-duplicates as well. Default: identical.",
        ),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            help="Compute the features of every image with efficientnet_lite0, to find look-alikes and wrong labels. "
            "Without it, features that runs left in the cache are used.",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write an HTML page, with pictures of suspect labels and similar images."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look for bad images, copies, leaks between splits, wrong labels and imbalance.

    Labels are judged where features are known: see --features. Exits with 3 if it finds an error; warnings do not
    change the exit code.
    """
    from ftcli.commands.check import check_dataset, write_page
    from ftcli.commands.outputs import check_output
    from ftcli.report.progress import choose_progress
    from ftcli.report.text.check import check_sections

    if html is not None:
        check_output(html)
    with choose_progress(quiet=quiet) as progress:
        options = {"val_fraction": val_fraction, "group_by": group_by, "keep_together": keep_together}
        given = {key: value for key, value in options.items() if value is not None}
        result = check_dataset(dataset, given, features=features, progress=progress)
    if html is not None:
        write_page(result, html)
    if as_json:
        show(result.to_json())
    else:
        show_sections(check_sections(result.contents, result.findings, result.embeddings), result.root)
    raise typer.Exit(result.exit_code)
