import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests

from ftcli.evaluation.compare.pairing import pair_by_content
from ftcli.evaluation.significance import holm, loss_test, p_text, sign_test, worse_p_value


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (6, 0), (7, 3), (3, 7), (40, 61), (500, 500)])
def test_the_sign_test_is_mcnemars_exact_test_of_statsmodels(gained, lost):
    reference = mcnemar_of_statsmodels([[0, gained], [lost, 0]], exact=True).pvalue
    assert sign_test(np.array(gained), np.array(lost)) == pytest.approx(min(1.0, reference))


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (7, 3), (3, 7), (40, 61)])
def test_the_one_sided_test_is_the_binomial_test_of_scipy(gained, lost):
    reference = stats.binomtest(lost, gained + lost, alternative="greater").pvalue
    assert loss_test(np.array(gained), np.array(lost)) == pytest.approx(reference)


def test_without_flips_nothing_is_significant():
    assert loss_test(np.array(0), np.array(0)) == 1


@pytest.mark.parametrize("count", [1, 2, 7])
def test_holms_adjustment_is_that_of_statsmodels(count):
    p_values = np.random.default_rng(count).uniform(0, 0.2, count).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_the_randomization_test_of_log_loss_is_scipys_permutation_test(drawn):
    a = drawn(80, 3, seed=0)
    b = drawn(80, 3, seed=1, labels=a.labels, sharpness=3.0)
    paired = pair_by_content(a, b, names=("a", "b"))
    rows = np.arange(80)
    losses = [-np.log(each.probabilities[rows, each.labels]) for each in (b, a)]
    reference = stats.permutation_test(
        losses,
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        alternative="greater",
        rng=0,
    )
    ours = worse_p_value(paired, "log_loss", seed=0, resamples=9999)
    assert ours == pytest.approx(reference.pvalue, abs=0.015)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece"])
def test_a_run_of_chance_is_worse_in_every_metric_and_never_better(scored, metric):
    labels = [image % 2 for image in range(120)]
    good = scored(labels, labels, confidence=0.97)
    bad = scored(labels, [image // 2 % 2 for image in range(120)], confidence=0.97)
    paired = pair_by_content(good, bad, names=("good", "bad"))
    assert worse_p_value(paired, metric, seed=0, resamples=999) < 0.005
    assert worse_p_value(paired.reversed(), metric, seed=0, resamples=999) > 0.9


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "ece"])
def test_a_run_is_neither_worse_nor_better_than_itself(drawn, metric):
    paired = pair_by_content(drawn(50, 3, seed=0), drawn(50, 3, seed=0), names=("a", "a"))
    assert worse_p_value(paired, metric, seed=0, resamples=99) == 1
    assert worse_p_value(paired.reversed(), metric, seed=0, resamples=99) == 1


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_equal_models_are_rarely_called_worse(drawn, metric):
    fired = 0
    for seed in range(100):
        a = drawn(100, 3, seed=seed)
        paired = pair_by_content(a, drawn(100, 3, seed=seed + 500, labels=a.labels), names=("a", "b"))
        fired += worse_p_value(paired, metric, seed=0, resamples=199) < 0.05
    assert fired <= 11  # 5 are expected, and more than 11 come once in 250 times


def test_small_p_values_are_not_said_to_be_zero():
    assert p_text(0.0) == "p < 0.001"
    assert p_text(0.034) == "p = 0.034"
