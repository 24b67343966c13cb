"""`ftcli predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show
from ftcli.data.sort_into import Placing
from ftcli.errors import UsageError


def predict(
    target: Annotated[Path, typer.Argument(help="A run (its best checkpoint), a checkpoint or an exported model.")],
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Images, folders, patterns, or - for a list on stdin.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, which appears once it is complete.")
    ] = None,
    form: Annotated[Literal["csv", "jsonl", "table"], typer.Option("--format", help="csv, jsonl or table.")] = "csv",
    topk: Annotated[int, typer.Option(min=1, help="Number of classes for each image, the most probable first.")] = 1,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add the probabilities of all classes.")
    ] = False,
    target_precision: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Label only images at a confidence that reached this precision on val; else abstain."
        ),
    ] = None,
    sort_into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy each image into a folder of its class in DIR.")
    ] = None,
    placing: Annotated[Placing, typer.Option("--by", help="With --sort-into: copy, link or move.")] = Placing.COPY,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --sort-into: move and copy nothing.")] = False,
    resume: Annotated[
        bool, typer.Option("--continue", help="Complete the output file of an interrupted call.")
    ] = False,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: the recipe's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. Default: the recipe's.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Label images, one line for each; images that cannot be read are skipped, listed, and exit with 3.

    No labels are needed: for images in class folders, `ftcli eval --data` also says how many are right.
    """
    if resume and (output is None or form == "table"):
        raise UsageError("--continue needs --output, as csv or jsonl", hint="Add --output FILE.")
    if sort_into is None and (dry_run or placing is not Placing.COPY):
        raise UsageError("--by and --dry-run need --sort-into", hint="Add --sort-into DIR, or leave them out.")
    from ftcli.commands.predict import Labelling, predict
    from ftcli.report.progress import choose_progress
    from ftcli.report.text.predict import Form, summary_line

    lines: list[str] = []
    how = Labelling(
        Form("jsonl" if as_json and output is None else form, topk, probabilities),
        output, resume, target_precision, sort_into, placing, dry_run, batch_size, device,
    )  # fmt: skip
    listed = (line for line in sys.stdin)
    with choose_progress(quiet=quiet) as progress:
        emit = lines.append if as_json else show
        result = predict(target, paths, how, emit=emit, progress=progress, listed=listed)
        progress.stage(summary_line(result.labels, seconds=result.seconds, threshold=result.threshold))
    if as_json:
        found = {} if output is not None else {"predictions": [json.loads(line) for line in lines]}
        show({**result.to_json(), "output": None if output is None else str(output), **found})
    result.refuse_skipped()
