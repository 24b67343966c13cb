"""`ftcli export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show, show_sections


def export(
    target: Annotated[Path, typer.Argument(help="A run directory (its best checkpoint) or a checkpoint.")],
    form: Annotated[
        Literal["onnx", "openvino", "timm"], typer.Option("--format", help="timm: for transformers, too.")
    ] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: export/FORMAT/ in the run.")
    ] = None,
    takes: Annotated[
        Literal["uint8", "float"],
        typer.Option("--input", help="uint8: pixels, normalised inside the file; float: images normalised outside."),
    ] = "uint8",
    data: Annotated[
        Path | None, typer.Option(help="Prove the file on these class folders, where the run's val is not at hand.")
    ] = None,
    golden: Annotated[
        Literal["val", "synthetic"],
        typer.Option(help="Images that travel with the file: eight of val, or synthetic ones where val is private."),
    ] = "val",
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the model for another runtime, with a script that needs no ftcli, and images to check it with.

    The file is run by its own runtime on the validation images first: if one label differs, nothing is written and the
    exit code is 4.
    """
    from ftcli.commands.export import ExportOptions, export
    from ftcli.report.progress import choose_progress
    from ftcli.report.text.export import export_sections

    with choose_progress(quiet=quiet) as progress:
        result = export(target, ExportOptions(form, takes, output, data, golden), progress)
    if as_json:
        show(result.to_json())
    else:
        show_sections(
            export_sections(
                result.directory, result.file, images=result.images, source=result.source,
                difference=result.largest_difference, runtime=result.runtime,
            )
        )  # fmt: skip
