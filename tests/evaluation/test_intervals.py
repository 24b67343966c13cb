import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.intervals import logit_normal, paired_difference, wilson, wilson_bounds
from ftcli.evaluation.resampling import log_losses


@pytest.mark.parametrize(("right", "images"), [(0, 1), (1, 1), (0, 20), (20, 20), (142, 153), (5_000, 10_000)])
def test_wilsons_interval_is_that_of_statsmodels_and_of_scipy(right, images):
    interval = wilson(right, images)
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(right, images, method="wilson"), abs=1e-12)
    reference = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_many_intervals_at_once_are_each_alone():
    low, high = wilson_bounds(np.array([0, 3, 9]), np.array([9, 9, 9]))
    for place, right in enumerate((0, 3, 9)):
        assert (low[place], high[place]) == (wilson(right, 9).low, wilson(right, 9).high)


def test_the_bootstrap_of_a_mean_is_scipys(drawn):
    # With all images of one class, stratified and plain resampling are the same.
    labels = np.zeros(200, dtype=np.int64)
    predictions = drawn(200, 3, seed=0, labels=labels)
    ours = evaluate(predictions, resamples=4000).metrics["log_loss"]
    theirs = stats.bootstrap(
        (log_losses(predictions.likelihoods),), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_a_lower_confidence_has_a_shorter_interval():
    counts = np.array([9]), np.array([4]), np.array([150])
    ninety, ninety_five = (paired_difference(*counts, confidence=confidence) for confidence in (0.9, 0.95))
    assert ninety_five.low < ninety.low < ninety.high < ninety_five.high


def test_one_image_in_favour_of_each_run_is_added_as_bonett_and_price_do():
    interval = paired_difference(np.array([9]), np.array([4]), np.array([150]))
    gained, lost = 10 / 152, 5 / 152
    reach = 1.959964 * np.sqrt((gained + lost - (gained - lost) ** 2) / 152)
    assert (interval.low, interval.high) == pytest.approx((gained - lost - reach, gained - lost + reach), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_logit_interval_stays_within_0_and_1_and_never_vanishes(value):
    interval = logit_normal(value, np.full(10, value) + np.linspace(-1e-3, 1e-3, 10) * (0 < value < 1), images=100)
    assert 0 <= interval.low <= value <= interval.high <= 1
    assert interval.high > interval.low
