"""`ftcli report`: write the page of runs, and on request PNG files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftcli.commands.outputs import check_output, make_folder
from ftcli.errors import RunError
from ftcli.evaluation.evaluate import Evaluation, evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.phrases import first_line
from ftcli.records import SCHEMA
from ftcli.report.format import pending_text
from ftcli.runs.create import put_back
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import write_bytes, write_text
from ftcli.runs.read_run import RecordedRun, read_run
from ftcli.runs.seeds_directory import RunsAt, runs_at


@dataclass(frozen=True)
class ReportResult:
    """A page about one run or several, and the PNG files that were drawn."""

    page: Path
    runs: tuple[Path, ...]
    pictures: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `report --json` prints."""
        return {
            "schema": SCHEMA,
            "page": str(self.page),
            "runs": [str(run) for run in self.runs],
            "pictures": [str(picture) for picture in self.pictures],
        }


def report_runs(paths: Sequence[Path], *, out: Path | None = None, pictures: Path | None = None) -> ReportResult:
    """Write the page of one run, or of several against the first one.

    A directory of several seeds is replaced by its runs.

    Without `out` the page goes into the given directory or, for several, into the current one; PNG files go into the
    folder `pictures`. Raises RunDirectoryError for a run that is missing or damaged, ComparisonError for runs that do
    not match, and UsageError for PNG files without matplotlib and for files that may not be written.
    """
    for path in paths:
        put_back(path)
    found = [runs_at(path) for path in paths]
    runs = [read_run(run) for each in found for run in each.runs]
    evaluations = [evaluate(run.predictions) for run in runs]
    drawn = {} if pictures is None else _pictures(runs, evaluations, pictures)
    page = _page(found, runs, evaluations)
    target = out or (RunDirectory(paths[0]) if len(paths) == 1 else RunDirectory(Path())).report
    for path in (target, *drawn):
        check_output(path)
    make_folder(target)
    try:
        write_text(target, page)
    except RunError as error:
        raise error.with_hint("Write the page elsewhere: --out FILE.") from error
    for path, content in drawn.items():
        make_folder(path)
        write_bytes(path, content)
    return ReportResult(target, tuple(run.path for run in runs), tuple(drawn))


def add_report(
    run: RunDirectory, predictions: Predictions, evaluation: Evaluation, *, notice: Callable[[str], None]
) -> None:
    """Write the page of a run that has just finished; `notice` reports a failure.

    A run is complete without its page, so no error here may fail it.
    """
    try:
        from ftcli.evaluation.ranking import with_ranking
        from ftcli.report.html.run import run_page

        write_text(
            run.report, run_page(read_run(run.path, predictions), with_ranking(evaluation, predictions, if_quick=True))
        )
    except Exception as error:  # noqa: BLE001 - the run is trained and saved, and its page can be made again
        notice(
            f"the run is finished but has no page: {first_line(error)}; "
            f"make it with ftcli report {shlex.quote(str(run.path))}"
        )


def _page(found: Sequence[RunsAt], runs: Sequence[RecordedRun], evaluations: Sequence[Evaluation]) -> str:
    from ftcli.commands.compare import compare_runs, pending_at
    from ftcli.evaluation.ranking import with_ranking
    from ftcli.report.html.compare import comparison_page
    from ftcli.report.html.run import run_page

    if len(runs) == 1:
        others = [replace(each, unfinished=()) for each in pending_at(found) if each.awaited]
        evaluation = with_ranking(evaluations[0], runs[0].predictions, if_quick=True)
        return run_page(runs[0], evaluation, alerts=[pending_text(each) for each in others])
    return comparison_page(runs, evaluations, compare_runs([each.path for each in found]))


def _pictures(runs: Sequence[RecordedRun], evaluations: Sequence[Evaluation], folder: Path) -> dict[Path, bytes]:
    """Return the PNG files to write; those of several runs are numbered."""
    from ftcli.report.charts.png import curves_picture, reliability_picture
    from ftcli.report.html.epochs import epoch_charts

    files = {}
    for number, (run, evaluation) in enumerate(zip(runs, evaluations, strict=True), start=1):
        suffix = f"-{number}" if len(runs) > 1 else ""
        files[folder / f"curves{suffix}.png"] = curves_picture(epoch_charts(run))
        files[folder / f"reliability{suffix}.png"] = reliability_picture(evaluation.calibration)
    return files
