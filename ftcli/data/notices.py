"""Owns what a user hears, in a few sentences, of the findings in a dataset and of the images that were left out."""

from __future__ import annotations

from collections.abc import Sequence

from ftcli.data.checks.findings import Finding, files_text, with_level
from ftcli.data.inspection import BadImage

_SHOWN = 5
_FINDINGS_SHOWN = 3


def skipped_notices(skipped: Sequence[BadImage]) -> tuple[str, ...]:
    """Return a sentence on the images that were left out, or none."""
    if not skipped:
        return ()
    named = "; ".join(f"{each.path}: {each.reason}" for each in skipped[:_SHOWN])
    more = f"; and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    are = "1 image that cannot be used is" if len(skipped) == 1 else f"{len(skipped)} images that cannot be used are"
    return (f"{are} left out, as data.on_bad_image says ({named}{more})",)


def finding_notices(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return a sentence for each of the gravest findings. None of them stops a run: `ftcli check` is the gate."""
    grave = with_level(findings, "error", "warning")
    sentences = []
    for finding in grave[:_FINDINGS_SHOWN]:
        first = next(iter(finding.cases), None)
        example = f" First: {files_text(first.files, sign=finding.sign) or first.note}." if first is not None else ""
        sentences.append(f"{finding.message}{example} {finding.advice}")
    if len(grave) > _FINDINGS_SHOWN:
        sentences.append(f"{len(grave) - _FINDINGS_SHOWN} more findings; `ftcli check` lists them all")
    return tuple(sentences)
