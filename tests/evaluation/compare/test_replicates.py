import numpy as np
import pytest

from ftcli.evaluation.compare.replicates import find_replicates, replicates_evidence, spread_of
from ftcli.evaluation.intervals import paired_difference

RECIPE = {"model": {"name": "resnet18"}, "epochs": 5}


def _recipes(*seeds, **changes):
    return [{**RECIPE, **changes, "seed": seed} for seed in seeds]


def test_runs_that_differ_only_in_their_seeds_belong_together():
    recipes = [*_recipes(0, 1), *_recipes(0, 1, epochs=6), *_recipes(2)]
    assert find_replicates(recipes, ["x"] * 5) == ((0, 1, 4), (2, 3))


def test_runs_on_other_training_images_do_not_belong_together():
    assert find_replicates(_recipes(0, 1, 2), ["x", "y", "x"]) == ((0, 2), (1,))


def test_a_repeat_of_a_seed_is_not_a_further_seed():
    assert find_replicates(_recipes(0, 0, 1), ["x"] * 3) == ((0, 2), (1,))


@pytest.mark.parametrize(
    ("seeds", "homes", "replicates"),
    [
        ((0, 0, 1, 2), (0, 1, 1, 1), ((0,), (1, 2, 3))),  # a lone run that repeats one of a directory
        ((3, 0, 1, 2), (0, 1, 1, 1), ((0, 1, 2, 3),)),
        ((0, 1, 2, 1), (0, 0, 1, 1), ((0, 1), (2, 3))),  # two directories that share a seed
        ((0, 1, 2, 3), (0, 0, 1, 1), ((0, 1, 2, 3),)),
        ((0, 1, 0, 1), (0, 0, 1, 1), ((0, 1), (2, 3))),
    ],
)
def test_the_seeds_of_one_directory_stay_together(seeds, homes, replicates):
    assert find_replicates(_recipes(*seeds), ["x"] * 4, homes) == replicates


def test_the_spread_of_one_run_is_unknown(drawn):
    assert spread_of([drawn(50, 3, seed=0)])["accuracy"].deviation is None


def test_two_single_runs_have_the_interval_of_a_pair(drawn):
    a = drawn(400, 3, seed=0)
    b = drawn(400, 3, seed=1, labels=a.labels)
    pair = paired_difference(
        np.array([(b.correct & ~a.correct).sum()]), np.array([(a.correct & ~b.correct).sum()]), np.array([400])
    )
    means = replicates_evidence(("a", "b"), [a], [b], resamples=50).difference("accuracy")
    assert means.difference == pytest.approx(pair.value)
    assert (means.low, means.high) == pytest.approx((pair.low, pair.high), abs=2e-4)  # t instead of normal


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "top5_accuracy"])
def test_seeds_that_differ_much_widen_the_interval(drawn, metric):
    a = drawn(300, 7, seed=0, sharpness=1.0)
    near = [drawn(300, 7, seed=0, labels=a.labels, sharpness=sharpness) for sharpness in (1.0, 1.01)]
    far = [drawn(300, 7, seed=seed, labels=a.labels, sharpness=seed) for seed in (1, 9)]
    narrow, wide = (replicates_evidence(("a", "b"), near, other).difference(metric) for other in (near, far))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_an_interval_ends_at_the_largest_possible_difference(scored):
    labels = [0, 1] * 3
    wrong = [1 - label for label in labels]
    worse = replicates_evidence(
        ("a", "b"), [scored(labels, labels), scored(labels, wrong)], [scored(labels, wrong), scored(labels, labels)]
    )
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        gap = worse.difference(metric)
        assert (gap.low, gap.high) == (-1.0, 1.0), metric
    loss = worse.difference("log_loss")
    assert loss.low < -1.0 < 1.0 < loss.high


def test_replicates_that_never_differ_are_neither_worse_nor_certainly_equal(scored):
    labels = [0, 1] * 50
    runs = [scored(labels, labels) for _ in range(2)]
    evidence = replicates_evidence(("a", "b"), runs, runs)
    assert evidence.worse("log_loss") == 0.5
    assert evidence.worse("accuracy") == 0.5
    gap = evidence.difference("accuracy")
    assert gap.low < -0.01 < 0.01 < gap.high


def test_the_interval_of_replicates_holds_the_truth_where_the_images_alone_would_not(scored):
    # The true difference is zero; a seed moves every image's chance of being right.
    generator = np.random.default_rng(0)
    labels = [0] * 300
    held, by_images = 0, 0
    for _ in range(150):
        difficulty = generator.normal(1, 1, 300)

        def run(difficulty=difficulty):
            right = difficulty + 0.3 * generator.normal() + 0.3 * generator.normal(size=300) > 0
            return scored(labels, (~right).astype(int).tolist())

        a, b = [run() for _ in range(3)], [run() for _ in range(3)]
        means = replicates_evidence(("a", "b"), a, b, resamples=20).difference("accuracy")
        pair = replicates_evidence(("a", "b"), a[:1], b[:1], resamples=20).difference("accuracy")
        held += means.low <= 0 <= means.high
        by_images += pair.low <= 0 <= pair.high
    assert held >= 138
    assert by_images < 110
