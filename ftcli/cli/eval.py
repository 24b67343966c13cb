"""`ftcli eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import Markdown, check_form, show, show_sections


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A run (its best checkpoint), a checkpoint or an exported model.")],
    data: Annotated[
        Path | None, typer.Option(help="Score these images: class folders, or a folder with splits.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test. Default: val.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write every prediction to this CSV file.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: the recipe's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. Default: the recipe's.")] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="Fit a temperature on this split, and show the figures of the scored images with and without it. "
            "Images in both are cross-fitted: no image is scored with a temperature that was fitted on it.",
        ),
    ] = None,
    target_precision: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Suggest a confidence threshold that reaches this precision.")
    ] = None,
    ranking: Annotated[
        bool, typer.Option("--ranking", help="Compute ROC-AUC and average precision even where they take minutes.")
    ] = False,
    markdown: Markdown = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the recipe's expectations to this JUnit XML file.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score a checkpoint on images: a split of its dataset, or a folder.

    It needs only the checkpoint and the images.
    """
    check_form(as_json=as_json, markdown=markdown)
    from ftcli.commands.eval import Scoring, evaluate_checkpoint
    from ftcli.commands.outputs import check_output, write_junit
    from ftcli.evaluation.compare.result import Pending
    from ftcli.evaluation.gates import raise_failed
    from ftcli.report.format import pending_text, seen_notes
    from ftcli.report.progress import choose_progress
    from ftcli.report.text.eval import eval_sections

    if junit is not None:
        check_output(junit)
    scoring = Scoring(data, split, batch_size, device, predictions, calibrate, target_precision, ranking)
    result = evaluate_checkpoint(checkpoint, scoring)
    for notice in result.notices:
        choose_progress(quiet=quiet).notice(notice)
    if junit is not None:
        write_junit(junit, result.gates, suite="ftcli eval")
    if as_json:
        show(result.to_json())
    else:
        run = result.unfinished
        sections = eval_sections(
            result.evaluation,
            calibration=result.calibration,
            abstention=result.abstention,
            notes=(*seen_notes(result.seen), "" if run is None else pending_text(Pending(str(run), (str(run),)))),
            unchecked=result.unchecked,
            gates=result.gates,
        )
        show_sections(sections, f"{result.checkpoint} on {result.source}", markdown=markdown)
    raise_failed(result.gates)
