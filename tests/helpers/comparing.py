"""Comparing two sets of predictions in one call."""

from ftcli.evaluation.compare.pair import Comparison, compare_paired
from ftcli.evaluation.compare.pairing import pair_by_content
from ftcli.evaluation.predictions import Predictions


def compare_predictions(
    a: Predictions, b: Predictions, *, names: tuple[str, str] = ("A", "B"), resamples: int = 1000
) -> Comparison:
    """Compare two runs on the images that both scored, matched by content."""
    return compare_paired(pair_by_content(a, b, names=names), names=names, resamples=resamples)
