"""What reaches the screen: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftcli.errors import RunError, UsageError
from ftcli.report.streams import encodable, let_go, marks_for

if TYPE_CHECKING:
    from ftcli.commands.seeds import SeedsResult
    from ftcli.commands.training_run import TrainResult
    from ftcli.report.sections import Section

Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")]


def check_form(*, as_json: bool, markdown: bool) -> None:
    """Raise UsageError for two forms of one result."""
    if as_json and markdown:
        raise UsageError("--json and --markdown exclude each other", hint="Leave one of them out.")


def show(result: dict[str, Any] | str) -> None:
    """Print a result on stdout: text, or one JSON object on one line."""
    text = result if isinstance(result, str) else json.dumps(result, allow_nan=False)
    with reaching_a_reader():
        print(encodable(text, sys.stdout))  # noqa: T201 - results go to stdout


def show_sections(sections: list[Section], title: str = "", *, markdown: bool = False) -> None:
    """Print a result's sections on stdout, as plain text or as Markdown."""
    from ftcli.report.markdown import as_markdown
    from ftcli.report.plain import as_text

    width = min(shutil.get_terminal_size().columns, 120)
    show(as_markdown(sections, title=title) if markdown else as_text(sections, title=title, width=width))


@contextmanager
def reaching_a_reader() -> Iterator[None]:
    """Flush stdout at the end. A closed pipe is fine; any other write failure raises RunError."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        let_go(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise RunError(f"cannot print the result: {error.strerror}") from error


def show_trained(result: TrainResult | SeedsResult, *, as_json: bool) -> None:
    """Print what came of training, with the run directory as the last line. Raises GateError for a failed gate."""
    from ftcli.evaluation.gates import raise_failed

    if as_json:
        show(result.to_json())
    else:
        show_sections(_trained_sections(result))
    raise_failed(result.gates)


def _next_steps(run: Path) -> tuple[str, ...]:
    """Return where the page of a finished run is, and how to score other images with it."""
    from ftcli.runs.directory import RunDirectory

    page = RunDirectory(run).report
    evaluate = f"Score other images: ftcli eval {shlex.quote(str(run))} --data FOLDER"
    return (*((f"Page: {page}",) if page.is_file() else ()), evaluate)


def _trained_sections(result: TrainResult | SeedsResult) -> list[Section]:
    from ftcli.commands.seeds import SeedsResult
    from ftcli.report.format import gate_text, unchecked_text
    from ftcli.report.sections import Lines, Section, prose
    from ftcli.report.text.eval import gates_section
    from ftcli.report.text.train import run_sections, seeds_sections

    sections = [Section("", prose(result.remark or ""))]
    if isinstance(result, SeedsResult):
        sections += seeds_sections(result.seeds, [each.summary for each in result.results], result.spread)
        runs = zip(result.seeds, result.results, strict=False)
        gates = [f"seed {seed}: {gate_text(gate)}" for seed, each in runs for gate in each.gates]
        sections.append(Section("", prose(*gates)))
    else:
        if result.summary is not None and result.evaluation is not None:
            marks = marks_for(sys.stdout, os.environ)
            sections += run_sections(result.summary, result.evaluation, result.plan, result.records, marks=marks)
        sections.append(gates_section(result.gates))
        if result.finished:
            sections.append(Section("", (Lines(_next_steps(result.run)),)))
    return [*sections, Section("", prose(unchecked_text(result.unchecked))), Section("", (Lines((str(result.run),)),))]
