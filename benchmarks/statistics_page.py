"""Simulates the intervals and gates of ftcli, and writes what they do into docs/statistics.md.

Without torch, with one seed for everything: `python benchmarks/statistics_page.py`, a few minutes on one core.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
from figures import percent, table
from settings import machine
from simulated import FLIPS, calibrated_model, flips, seeds_of_one_recipe

from ftcli.evaluation.abstention import abstention
from ftcli.evaluation.compare.differences import metric_differences
from ftcli.evaluation.compare.evidence import PairEvidence
from ftcli.evaluation.compare.pairing import Paired
from ftcli.evaluation.compare.replicates import replicates_evidence
from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.intervals import paired_difference
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.ranking import with_ranking
from ftcli.evaluation.significance import loss_test

PAGE = Path(__file__).parents[1] / "docs/statistics.md"
SEED, ALPHA = 20_261_121, 0.05
SIZES = (150, 1_000, 10_000)
DROPS = (0.01, 0.02, 0.05, 0.10)
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")


def main() -> None:
    """Run every simulation and put the tables where the page has a place for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2_000, help="simulated pairs of runs, and data sets")
    pairs = parser.parse_args().pairs
    text = PAGE.read_text(encoding="utf-8")
    for name, simulate in SECTIONS.items():
        shown = simulate(pairs, np.random.default_rng([SEED, *name.encode()]))
        text = re.sub(rf"(?s)(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, s=shown: f"{m[1]}\n{s}\n\n{m[2]}", text)
        print(f"## {name}\n\n{shown}\n", flush=True)
    PAGE.write_text(text, encoding="utf-8")


def false_alarms(pairs: int, generator: np.random.Generator) -> str:
    """Return how often `worse` fires for equal models."""
    rows = []
    for images in SIZES:
        gained, lost = flips(images, 0.0, pairs, generator)
        fired = float((loss_test(gained, lost) < ALPHA).mean())
        rows.append(
            [f"{images}", percent(fired), percent(exact_size(images)), f"{100 * (ALPHA - exact_size(images)):.1f}"]
        )
    return table(("images", "`worse` fired", "exactly, over all outcomes", "points below 5 %"), rows)


def exact_size(images: int) -> float:
    """Return the probability that the exact test fires for equal models, by summing over every outcome."""
    from scipy.stats import binom

    total = 0.0
    counts = np.arange(images + 1)
    for flipped, chance in zip(counts, binom.pmf(counts, images, FLIPS), strict=True):
        if chance > 1e-12:
            gained = np.arange(flipped + 1)
            fires = loss_test(gained, flipped - gained) < ALPHA
            total += chance * float(binom.pmf(gained, flipped, 0.5)[fires].sum())
    return total


def other_metrics(pairs: int, generator: np.random.Generator) -> str:
    """Return how often the randomization test fires for equal models."""
    rows = []
    for metric in METRICS[1:]:
        fired = 0
        for _ in range(pairs):
            a = calibrated_model(150, generator)
            evidence = PairEvidence(("a", "b"), _paired(a, calibrated_model(150, generator, a.labels)))
            fired += evidence.worse(metric) < ALPHA
        rows.append([metric, percent(fired / pairs)])
    return table(("metric, 150 images", "`worse` fired"), rows)


def power(pairs: int, generator: np.random.Generator) -> str:
    """Return how often `worse` finds a true drop."""
    rows = []
    for images in SIZES:
        found = []
        for drop in DROPS:
            gained, lost = flips(images, drop, pairs, generator)
            found.append(percent(float((loss_test(gained, lost) < ALPHA).mean())))
        rows.append([f"{images}", *found])
    return table(("images", *(f"drop of {100 * drop:.0f} points" for drop in DROPS)), rows)


def equivalence(pairs: int, generator: np.random.Generator) -> str:
    """Return how often `not-equivalent:0.02` holds for equal models, and for ones that differ by two points."""
    rows = []
    for images in SIZES:
        shown = []
        for drop in (0.0, 0.01, 0.02):
            gained, lost = flips(images, drop, pairs, generator)
            held = 0
            for b_better, a_better in zip(gained, lost, strict=True):
                gap = paired_difference(np.array([b_better]), np.array([a_better]), np.array([images]), confidence=0.9)
                held += max(-gap.low, gap.high) < 0.02
            shown.append(percent(held / pairs))
        rows.append([f"{images}", *shown])
    return table(("images", "equal models", "1 point apart", "2 points apart (nominally 5 %)"), rows)


def intervals(pairs: int, generator: np.random.Generator) -> str:
    """Return how often the 95 % intervals of one run cover the truth."""
    truth = with_truth(calibrated_model(400_000, generator))
    names = (*METRICS, "roc_auc", "average_precision")
    rows = []
    for images in (50, 150, 1_000):
        held = dict.fromkeys(names, 0)
        for number in range(pairs):
            predictions = calibrated_model(images, generator)
            found = evaluate(predictions)
            # Ranking is the slow part: every fifth data set.
            metrics = found.metrics if number % 5 else with_ranking(found, predictions).metrics
            for name, interval in metrics.items():
                held[name] += interval.low <= truth[name] <= interval.high
        sets = {name: pairs if name in METRICS else -(-pairs // 5) for name in names}
        rows.append([f"{images}", *(percent(held[name] / sets[name]) for name in names)])
    return table(("images", *METRICS, "roc_auc (400)", "average_precision (400)"), rows)


def with_truth(population: Predictions) -> dict[str, float]:
    """Return every metric on enough images to be the truth; a calibrated model's ECE is 0."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from ftcli.evaluation.resampling import metric_values

    single = population.labels[:, None] == np.arange(len(population.classes))
    return {
        **metric_values(population),
        "ece": 0.0,
        "roc_auc": float(roc_auc_score(single, population.probabilities)),
        "average_precision": float(average_precision_score(single, population.probabilities)),
    }


def differences(pairs: int, generator: np.random.Generator) -> str:
    """Return how often the intervals of the difference of equal models cover zero."""
    rows = []
    for images in (150, 1_000):
        held = dict.fromkeys(METRICS, 0)
        for _ in range(pairs):
            a = calibrated_model(images, generator)
            paired = _paired(a, calibrated_model(images, generator, a.labels))
            for name, gap in metric_differences(paired, seed=0, resamples=1000).items():
                held[name] += gap.low <= 0 <= gap.high
        rows.append([f"{images}", *(percent(held[name] / pairs) for name in METRICS)])
    return table(("images", *METRICS), rows)


def seeds(pairs: int, generator: np.random.Generator) -> str:
    """Return how often the interval of two equal recipes covers zero: with images and seeds, and with images alone."""
    rows = []
    for runs in (2, 3, 5):
        for spread in (0.0, 0.05, 0.2):
            held = alone = 0
            for _ in range(pairs):
                difficulty = generator.normal(1.3, 1.0, 1_000)
                make = partial(seeds_of_one_recipe, 1_000, runs, generator, difficulty, spread)
                a, b = make(), make()
                gap = replicates_evidence(("a", "b"), a, b, resamples=2).difference("accuracy")
                held += gap.low <= 0 <= gap.high
                one = replicates_evidence(("a", "b"), a[:1], b[:1], resamples=2).difference("accuracy")
                alone += one.low <= 0 <= one.high
            rows.append([f"{runs}", f"{spread:g}", percent(held / pairs), percent(alone / pairs)])
    return table(("seeds each", "spread of seeds", "groups of seeds", "one run each, images alone"), rows)


def abstaining(pairs: int, generator: np.random.Generator) -> str:
    """Return how often a suggested threshold reaches its precision on other images."""
    population = calibrated_model(400_000, generator)
    confidence, correct = population.confidence, population.correct
    order = np.argsort(-confidence)
    ordered, precision = -confidence[order], np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    rows = []
    for images in (150, 1_000):
        for target in (0.9, 0.95):
            broken, covered = 0, []
            for _ in range(pairs):
                found = abstention(calibrated_model(images, generator), target=target).suggestion
                if found is not None:
                    answered = np.searchsorted(ordered, -found.threshold, side="right")
                    broken += precision[answered - 1] < target
                    covered.append(found.coverage)
            share = percent(float(np.mean(covered)) if covered else 0.0)
            rows.append([f"{images}", percent(target), percent(len(covered) / pairs), share, percent(broken / pairs)])
    header = ("images", "target", "threshold found", "share answered on average", "precision below the target")
    return table(header, rows)


def _paired(a: Predictions, b: Predictions) -> Paired:
    return Paired(a, b, only_a=0, only_b=0, repeats=0)


def where_and_when(pairs: int, _generator: np.random.Generator) -> str:
    """Return the date, the machine and the number of simulations."""
    facts = machine()
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in ("ftcli", "numpy"))
    return (
        f"{date.today():%Y-%m-%d}, {facts['cpu']}, {facts['system']}, Python {facts['python']}, {versions}; "
        f"{pairs} simulated pairs or data sets unless a table says otherwise, seed {SEED}, so that a share of 5 or 95 "
        f"% is known to about {100 * 1.96 * (0.05 * 0.95 / pairs) ** 0.5:.0f} point."
    )


SECTIONS: dict[str, Callable[[int, np.random.Generator], str]] = {
    "machine": where_and_when,
    "false alarms": false_alarms,
    "other metrics": other_metrics,
    "power": power,
    "equivalence": equivalence,
    "intervals": intervals,
    "differences": differences,
    "seeds": seeds,
    "abstaining": abstaining,
}


if __name__ == "__main__":
    main()
