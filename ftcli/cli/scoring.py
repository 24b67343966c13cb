"""Owns the commands that speak of predictions: eval and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import show, stderr, width
from ftcli.errors import UsageError

if TYPE_CHECKING:
    from ftcli.commands.eval import EvalResult

Checkpoint = Annotated[Path, typer.Argument(help="A run directory (its best checkpoint) or a checkpoint.")]
Data = Annotated[Path | None, typer.Option(help="Score these images: class folders, or a root with splits.")]
Split = Annotated[str | None, typer.Option(help="train, val or test. Default: val.")]
PredictionsFile = Annotated[Path | None, typer.Option(help="Write every prediction to this CSV file.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Default: the recipe's.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. Default: the recipe's.")]
Calibrate = Annotated[
    str | None,
    typer.Option(
        metavar="SPLIT",
        help="Fit a temperature on this split and say what it does for the scored images. Images that are in both "
        "are cross-fitted: no image is judged by a temperature that it took part in.",
    ),
]
TargetPrecision = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Suggest the confidence to answer from, so that so many answers are right."),
]
ExpectationsFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write what the recipe expects to this JUnit XML file.")
]
Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN_A RUN_B [RUN...]", help="Run directories; the first is the baseline."),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RULE",
        help="Exit with 4 if this is so of any run but the first; repeatable. `worse`: a one-sided paired test "
        "finds it worse. `not-better`: such a test does not find it better. `drop:0.01`: its figure is more than "
        "one point worse, by the point estimate alone, without a test. `not-equivalent:0.02`: two one-sided tests "
        "do not show it within two points.",
    ),
]
Metric = Annotated[
    list[str] | None,
    typer.Option(metavar="METRIC", help="What --fail-if and tables speak of; repeatable. Default: accuracy."),
]
Alpha = Annotated[float, typer.Option(min=0.0001, max=0.4999, help="Level of each one-sided test of --fail-if.")]
GatesFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the gates to this JUnit XML file.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")]


def evaluate(
    checkpoint: Checkpoint,
    data: Data = None,
    split: Split = None,
    predictions: PredictionsFile = None,
    batch_size: BatchSize = None,
    device: Device = None,
    calibrate: Calibrate = None,
    target_precision: TargetPrecision = None,
    markdown: Markdown = False,
    junit: ExpectationsFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score a checkpoint on images: a split of its dataset, or a folder.

    It needs nothing but the checkpoint and the images.
    """
    _check_form(as_json=as_json, markdown=markdown)
    from ftcli.commands.eval import Scoring, evaluate_checkpoint
    from ftcli.commands.outputs import check_output, write_junit
    from ftcli.evaluation.gates import raise_failed
    from ftcli.report.progress import choose_progress

    if junit is not None:
        check_output(junit)
    scoring = Scoring(
        data=data,
        split=split,
        batch_size=batch_size,
        device=device,
        predictions=predictions,
        calibrate=calibrate,
        target_precision=target_precision,
    )
    result = evaluate_checkpoint(checkpoint, scoring)
    for sentence in result.notices:
        choose_progress(stderr(), quiet=quiet).notice(sentence)
    if junit is not None:
        write_junit(junit, result.gates, suite="ftcli eval")
    if as_json:
        show(result.to_json())
    else:
        show(_markdown(result) if markdown else _text(result, width()))
    raise_failed(result.gates)


def _text(result: EvalResult, columns: int) -> str:
    """Return an evaluation for reading: what was scored first, gates last."""
    from ftcli.report.format import prose, unchecked_text
    from ftcli.report.text.compare import gates_text
    from ftcli.report.text.eval import abstention_text, calibration_text, evaluation_text

    parts = [
        _title(result),
        evaluation_text(result.evaluation, width=columns),
        result.calibration and calibration_text(result.calibration, width=columns),
        result.abstention and abstention_text(result.abstention, width=columns),
        *(prose(note, columns) for note in _notes(result)),
        unchecked_text(result.unchecked),
        gates_text(result.gates, width=columns),
    ]
    return "\n\n".join(part for part in parts if part)


def _markdown(result: EvalResult) -> str:
    from ftcli.report.markdown import evaluation_markdown

    return evaluation_markdown(result.evaluation, result.gates, title=_title(result), note="\n\n".join(_notes(result)))


def _notes(result: EvalResult) -> tuple[str, ...]:
    """Return what keeps the figures from being taken at their word."""
    from ftcli.evaluation.compare.result import Pending
    from ftcli.report.format import pending_text, printable
    from ftcli.report.text.eval import seen_notes

    run = result.unfinished
    pending = () if run is None else (printable(pending_text(Pending(str(run), (str(run),), ()))),)
    return (*seen_notes(result.seen), *pending)


def _title(result: EvalResult) -> str:
    return f"{result.checkpoint} on {result.source}"


def compare(
    runs: Runs,
    fail_if: FailIf = None,
    metric: Metric = None,
    alpha: Alpha = 0.05,
    markdown: Markdown = False,
    junit: GatesFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare runs on the images that they share.

    Images are matched by content. Runs whose recipes differ only in the seed are one result with a spread; against
    other recipes they are compared with the chance of images and of seeds.
    """
    _check_form(as_json=as_json, markdown=markdown)
    from ftcli.commands.compare import compare_runs
    from ftcli.commands.outputs import check_output, write_junit
    from ftcli.evaluation.gates import Rules, check_limits, check_metric, parse_rule, raise_failed
    from ftcli.report.markdown import findings_markdown
    from ftcli.report.text.compare import findings_text

    if junit is not None:
        check_output(junit)
    metrics = tuple(dict.fromkeys(check_metric(name) for name in metric or ["accuracy"]))
    rules = Rules(tuple(dict.fromkeys(parse_rule(text) for text in fail_if or [])), metrics, alpha)
    check_limits(rules)
    findings = compare_runs(runs, rules)
    if junit is not None:
        write_junit(junit, findings.gates, suite="ftcli compare")
    if as_json:
        show(findings.to_json())
    else:
        show(findings_markdown(findings) if markdown else findings_text(findings, width=width()))
    raise_failed(findings.gates)


def _check_form(*, as_json: bool, markdown: bool) -> None:
    if as_json and markdown:
        raise UsageError("--json and --markdown exclude each other", hint="Leave one of them out.")
