"""What reaches the screen: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftcli.errors import RunError
from ftcli.report.streams import encodable, let_go, marks_for

if TYPE_CHECKING:
    from ftcli.commands.seeds import SeedsResult
    from ftcli.commands.training_run import TrainResult


def show(result: dict[str, Any] | str) -> None:
    """Print a result on stdout: text, or one JSON object on one line."""
    text = result if isinstance(result, str) else json.dumps(result, allow_nan=False)
    with reaching_a_reader():
        print(encodable(text, sys.stdout))  # noqa: T201 - results go to stdout


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


def stderr() -> Any:
    """Return the console for progress."""
    from ftcli.report.progress import Screen

    return Screen(stderr=True)


def width() -> int:
    """Return how many columns text may take."""
    return min(shutil.get_terminal_size().columns, 120)


def marks() -> str:
    """Return what sparklines on stdout are drawn with, if anything."""
    return marks_for(sys.stdout, os.environ)


def show_trained(result: TrainResult | SeedsResult, *, as_json: bool) -> None:
    """Print what came of training, with the run directory as the last line. Raises GateError for a failed gate."""
    from ftcli.evaluation.gates import raise_failed

    show(result.to_json() if as_json else _trained_text(result))
    raise_failed(result.gates)


def _trained_text(result: TrainResult | SeedsResult) -> str:
    from ftcli.commands.seeds import SeedsResult
    from ftcli.report.format import unchecked_text
    from ftcli.report.text.compare import gate_text
    from ftcli.report.text.train import run_text, seeds_text

    texts = [] if result.remark is None else [result.remark]
    if isinstance(result, SeedsResult):
        summaries = [each.summary for each in result.results]
        texts.append(seeds_text(result.seeds, summaries, result.spread, width=width()))
        for seed, each in zip(result.seeds, result.results, strict=False):
            texts += [f"seed {seed}: {gate_text(gate)}" for gate in each.gates]
    else:
        if result.summary is not None and result.evaluation is not None:
            run = (result.summary, result.evaluation, result.plan, result.records)
            texts.append(run_text(*run, marks=marks(), width=width()))
        texts += map(gate_text, result.gates)
    if result.unchecked:
        texts.append(unchecked_text(result.unchecked))
    return "\n".join([*texts, str(result.run)])
