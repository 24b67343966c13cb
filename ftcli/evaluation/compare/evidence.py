"""Owns what gates and tables ask of two runs: how much a metric differs, and how surely."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from ftcli.evaluation.compare.differences import Difference, metric_differences
from ftcli.evaluation.compare.pairing import Paired
from ftcli.evaluation.intervals import CONFIDENCE
from ftcli.evaluation.significance import better_p_value, worse_p_value

RESAMPLES = 1000
SWAPS = 1999


class Evidence(Protocol):
    """What the same images say of B against A, be they runs or groups of runs."""

    @property
    def names(self) -> tuple[str, str]:
        """What A and B are called."""

    @property
    def how(self) -> str:
        """What was counted, such as `150 images`."""

    def difference(self, metric: str, *, confidence: float = CONFIDENCE) -> Difference:
        """Return the metric of both and B minus A with its interval; KeyError for a metric that they lack."""

    def worse(self, metric: str) -> float:
        """Return the one-sided p-value of B doing so much worse."""

    def better(self, metric: str) -> float:
        """Return the one-sided p-value of B doing so much better."""


@dataclass(frozen=True, eq=False)
class PairEvidence:
    """Two runs on the same images: exact or randomization tests, closed-form or bootstrap intervals."""

    names: tuple[str, str]
    paired: Paired
    seed: int = 0

    @property
    def how(self) -> str:
        """The images."""
        return f"{len(self.paired.a)} images"

    @cached_property
    def _differences(self) -> dict[str, Difference]:
        return metric_differences(self.paired, seed=self.seed, resamples=RESAMPLES)

    def difference(self, metric: str, *, confidence: float = CONFIDENCE) -> Difference:
        """Return the metric of both runs and B minus A with its interval."""
        if confidence == CONFIDENCE:
            return self._differences[metric]
        return metric_differences(self.paired, confidence=confidence, seed=self.seed, resamples=RESAMPLES)[metric]

    def worse(self, metric: str) -> float:
        """Return the one-sided p-value of B doing so much worse."""
        return worse_p_value(self.paired, metric, seed=self.seed, resamples=SWAPS)

    def better(self, metric: str) -> float:
        """Return the one-sided p-value of B doing so much better."""
        return better_p_value(self.paired, metric, seed=self.seed, resamples=SWAPS)


def two_sided(evidence: Evidence, metric: str) -> float:
    """Return the two-sided p-value of a difference: twice the smaller tail."""
    return min(1.0, 2 * min(evidence.worse(metric), evidence.better(metric)))
