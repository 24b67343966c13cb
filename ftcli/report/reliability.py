"""Owns calibration and abstaining as plain text."""

from __future__ import annotations

from ftcli.evaluation.abstention import Abstention
from ftcli.evaluation.temperature import Calibration
from ftcli.report.format import count, printable, prose, table
from ftcli.report.wording import difference_cells, interval_text, metric_name, share

_LEAST_SHOWN = 0.5
"""The coverage below which thresholds are left to --json."""


def calibration_text(calibration: Calibration, *, width: int = 80) -> str:
    """Return what a temperature does, and on which images it was fitted and judged."""
    how = f"Temperature {calibration.temperature:.3f}, fitted on {printable(calibration.source)}"
    how += f" ({count(calibration.images, 'image')})."
    if calibration.folds:
        how += (
            f" Some of these images are scored as well, so the figures are cross-fitted: in {calibration.folds} folds, "
            "each image by the temperature of the others."
        )
    if calibration.trained_on:
        how += " The network was trained on them and is surer of them than of others: rather fit on val."
    if calibration.unbounded:
        how += " The network is right on all of them, so the colder the better: do not rely on this temperature."
    rows = [(metric_name(name), *difference_cells(name, each)) for name, each in calibration.metrics.items()]
    return f"{prose(how, width)}\n{table(('metric', 'before', 'after', 'change', '95 % interval'), rows, width)}"


def abstention_text(abstention: Abstention, *, width: int = 80) -> str:
    """Return the threshold that is suggested, and what others would do."""
    target = share(abstention.target)
    found = abstention.suggestion
    if found is None:
        said = f"These images show of no threshold that {target} of the answers are right, at 95 % confidence."
    else:
        said = (
            f"Answer from a confidence of {found.threshold:.4f} on: {share(found.coverage)} of the images are "
            f"answered, {share(found.precision.value)} of them right; "
            f"at 95 % confidence at least {target} on images like these."
        )
    rows = [
        (
            f"{point.threshold:.4f}",
            share(point.coverage),
            str(point.images),
            share(point.precision.value),
            interval_text("accuracy", point.precision),
        )
        for point in reversed(abstention.curve)
        if point.coverage >= _LEAST_SHOWN
    ]
    header = ("from confidence", "answered", "images", "right", "95 % interval")
    return f"{prose(said, width)}\n{table(header, rows, width, numbers_from=0)}"
