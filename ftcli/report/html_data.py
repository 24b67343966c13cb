"""Owns what the page of a run says of its data: what the checks of `train` found, and which images were left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftcli.data.checks.findings import Case, with_level
from ftcli.data.notices import finding_notices, skipped_notices
from ftcli.report.text.check import case_text
from ftcli.runs.read_run import RecordedRun

CASES = 5
"""As many cases of a finding, and images that were left out, are shown."""


def data_section(run: RecordedRun) -> dict[str, Any]:
    """Return the findings, the gravest first, the images that were left out and the strays, the first few of each."""
    strays = [Case((str(path),)) for path in run.dataset.get("strays", [])]
    return {
        "findings": [{"finding": finding, **_first(finding.cases, sign=finding.sign)} for finding in run.findings],
        "skipped": {"images": len(run.skipped), **_first([Case((each.path,), each.reason) for each in run.skipped])},
        "strays": {"files": len(strays), **_first(strays)},
    }


def data_alerts(run: RecordedRun) -> list[str]:
    """Return the findings that no figure can be trusted beside."""
    return [finding.message for finding in with_level(run.findings, "error")]


def other_notices(run: RecordedRun) -> list[str]:
    """Return the notices of a finished run that the section on its data does not tell in full."""
    told = {*finding_notices(run.findings), *skipped_notices(run.skipped)}
    return [] if run.summary is None else [notice for notice in run.summary.notices if notice not in told]


def _first(cases: Sequence[Case], *, sign: str = "=") -> dict[str, Any]:
    return {"cases": [case_text(case, sign=sign) for case in cases[:CASES]], "more": len(cases[CASES:])}
