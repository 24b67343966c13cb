"""What two runs, or two sets of replicates, show of each other: differences and p-values, for gates and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ftcli.evaluation.compare.differences import Difference, metric_differences
from ftcli.evaluation.compare.pairing import Paired
from ftcli.evaluation.compare.replicates import ReplicatesEvidence
from ftcli.evaluation.intervals import CONFIDENCE
from ftcli.evaluation.significance import holm, worse_p_value

RESAMPLES = 1000
SWAPS = 1999


@dataclass(frozen=True, eq=False)
class PairEvidence:
    """Two runs on the same images: exact or randomization tests, closed-form or bootstrap intervals."""

    names: tuple[str, str]
    paired: Paired

    @property
    def how(self) -> str:
        """The number of images."""
        return f"{len(self.paired.a)} images"

    @cached_property
    def _differences(self) -> dict[str, Difference]:
        return metric_differences(self.paired, seed=0, resamples=RESAMPLES)

    def difference(self, metric: str, *, confidence: float = CONFIDENCE) -> Difference:
        """Return the metric of both runs and B minus A with its interval. Raises KeyError for one that they lack."""
        if confidence == CONFIDENCE:
            return self._differences[metric]
        return metric_differences(self.paired, confidence=confidence, seed=0, resamples=RESAMPLES)[metric]

    def worse(self, metric: str) -> float:
        """Return the one-sided p-value of B doing so much worse."""
        return worse_p_value(self.paired, metric, seed=0, resamples=SWAPS)

    def better(self, metric: str) -> float:
        """Return the one-sided p-value of B doing so much better."""
        return worse_p_value(self.paired.reversed(), metric, seed=0, resamples=SWAPS)


Evidence = PairEvidence | ReplicatesEvidence
"""What the same images show of B against A, two runs or two sets of replicates."""


@dataclass(frozen=True)
class Contrast(Difference):
    """One metric of a run, or of replicates, (b) against that of the baseline (a).

    `p_value` is two-sided, `adjusted` the same adjusted for the number of contrasts (Holm).
    """

    a_name: str
    b_name: str
    metric: str
    p_value: float
    adjusted: float

    def to_json(self) -> dict[str, Any]:
        """Return the contrast as plain data, the names first."""
        return {"a_name": self.a_name, "b_name": self.b_name, "metric": self.metric, **asdict(self)}


def contrasts_of(evidence: Sequence[Evidence], metrics: Sequence[str]) -> tuple[Contrast, ...]:
    """Return every metric's contrasts, adjusted for the number of those compared with the baseline."""
    contrasts = []
    for metric in metrics:
        # Two-sided: twice the smaller tail.
        p_values = [min(1.0, 2 * min(each.worse(metric), each.better(metric))) for each in evidence]
        for each, p_value, adjusted in zip(evidence, p_values, holm(p_values), strict=True):
            (a, b), figures = each.names, asdict(each.difference(metric))
            contrasts.append(Contrast(**figures, a_name=a, b_name=b, metric=metric, p_value=p_value, adjusted=adjusted))
    return tuple(contrasts)
