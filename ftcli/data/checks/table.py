"""The table of checks: one row for each, with the findings that it can report and their levels.

`ftcli check` runs every row. `ftcli train` runs those that need only names and hashes, which it has anyway.
To add a check, write a function that yields findings in one of the files of this folder, and add its row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ftcli.data.checks.copies import Earlier, duplicate_findings, earlier_findings
from ftcli.data.checks.findings import Finding, Level
from ftcli.data.checks.images import (
    ImageCheck,
    colour_findings,
    format_findings,
    frame_findings,
    size_findings,
    uncompared_findings,
)
from ftcli.data.checks.look_alikes import Embeddings, cache_findings, similar_findings
from ftcli.data.checks.structure import (
    bad_image_findings,
    class_name_findings,
    cluster_findings,
    imbalance_findings,
    layout_findings,
    small_class_findings,
    unlabelled_findings,
)
from ftcli.data.checks.suspects import suspect_findings
from ftcli.data.dataset import Dataset
from ftcli.data.inspection import BadImage
from ftcli.errors import DatasetError


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known about a dataset when it is checked; the defaults are for what was not examined."""

    dataset: Dataset
    sha256_of: Mapping[str, str]
    images: Sequence[ImageCheck] = ()
    bad: Sequence[BadImage] = ()
    skips_bad: bool = False
    layout_error: DatasetError | None = None
    embeddings: Embeddings | None = None
    cache_problem: str | None = None
    earlier: Earlier | None = None


@dataclass(frozen=True)
class Check:
    """One row: the codes that a check can report, at which levels, and the function that yields them."""

    levels: Mapping[str, tuple[Level, ...]]
    find: Callable[[Evidence], Iterable[Finding]]
    in_training: bool = False


CHECKS = (
    Check({"bad-image": ("error", "warning")}, lambda given: bad_image_findings(given.bad, skipped=given.skips_bad)),
    Check({"layout": ("error",)}, lambda given: layout_findings(given.layout_error, without_bad=bool(given.bad))),
    Check({"cache-unread": ("info",)}, lambda given: cache_findings(given.cache_problem)),
    Check(
        {"label-conflict": ("error",), "leak": ("error", "warning"), "duplicate": ("warning",)},
        lambda given: duplicate_findings(given.dataset, given.sha256_of),
        in_training=True,
    ),
    Check(
        {"seen-before": ("error",), "weights-unlisted": ("info",)},
        lambda given: earlier_findings(given.dataset, given.sha256_of, given.earlier),
        in_training=True,
    ),
    Check({"group-leak": ("error",)}, lambda given: cluster_findings(given.dataset), in_training=True),
    Check({"alike-classes": ("warning",)}, lambda given: class_name_findings(given.dataset), in_training=True),
    Check({"imbalance": ("warning",)}, lambda given: imbalance_findings(given.dataset), in_training=True),
    Check({"small-class": ("warning",)}, lambda given: small_class_findings(given.dataset), in_training=True),
    Check(
        {"near-duplicate": ("warning",), "look-alike": ("warning",)},
        lambda given: similar_findings(given.dataset, given.images, given.embeddings, given.sha256_of),
    ),
    Check(
        {"label-suspect": ("warning",), "labels-not-searched": ("info",)},
        lambda given: suspect_findings(given.dataset, given.embeddings, given.sha256_of),
    ),
    Check({"one-colour": ("warning",)}, lambda given: colour_findings(given.images)),
    Check({"extreme-size": ("warning",)}, lambda given: size_findings(given.images)),
    Check({"several-frames": ("warning",)}, lambda given: frame_findings(given.images)),
    Check({"other-format": ("info",)}, lambda given: format_findings(given.images)),
    Check({"not-compared": ("info",)}, lambda given: uncompared_findings(given.images)),
    Check(
        {"no-label": ("warning",), "unread-format": ("warning",), "stray": ("info",)},
        lambda given: unlabelled_findings(given.dataset),
    ),
)


def all_findings(evidence: Evidence) -> list[Finding]:
    """Run every check."""
    return [finding for check in CHECKS for finding in check.find(evidence)]


def content_findings(
    dataset: Dataset, sha256_of: Mapping[str, str], earlier: Earlier | None = None
) -> tuple[Finding, ...]:
    """Run the checks that need only names and hashes, as training does; `sha256_of` maps names to hashes."""
    evidence = Evidence(dataset, sha256_of, earlier=earlier)
    return tuple(finding for check in CHECKS if check.in_training for finding in check.find(evidence))
