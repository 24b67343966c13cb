"""Owns the commands that speak of predictions: eval and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show, width


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
    from ftcli.report.evaluations import evaluation_text
    from ftcli.report.wording import VAL_CHOSE_THE_EPOCH

    scoring = Scoring(data=data, split=split, batch_size=batch_size, device=device, predictions=predictions)
    result = evaluate_checkpoint(checkpoint, scoring)
    notes = (VAL_CHOSE_THE_EPOCH,) if result.chose_epoch else ()
    text = evaluation_text(result.evaluation, notes=notes, width=width())
    show(result.to_json() if as_json else f"{result.checkpoint} on {result.source}\n\n{text}")


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
    from ftcli.report.comparisons import comparison_text

    result = compare_runs(runs)
    texts = [comparison_text(pair.comparison, pair.recipe_changes, width=width()) for pair in result.pairs]
    show(result.to_json() if as_json else "\n\n".join(texts))
