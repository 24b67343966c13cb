from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from ftcli.engine.logistic import ENOUGH_WORSE, STRENGTHS, Examples, fit_head, make_folds
from ftcli.errors import DatasetError
from ftcli.records import ProbeRecord

VIEWS, INPUTS = 3, 20


def examples(*counts: int, apart: float = 1.0, seed: int = 0) -> Examples:
    """Make images of so many of each class, whose views differ less than they do."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = apart * generator.normal(size=(len(counts), INPUTS))
    images = centres[labels] + generator.normal(size=(len(labels), INPUTS))
    views = 5.0 + 7.0 * (images[:, None] + 0.1 * generator.normal(size=(len(labels), VIEWS, INPUTS)))
    plain = 5.0 + 7.0 * images
    return Examples(views.astype(np.float32), labels, np.arange(len(labels)), plain.astype(np.float32))


def fit(data: Examples, *, biased: bool = True, seed: int = 0) -> tuple[NDArray, NDArray, ProbeRecord]:
    linear, record = fit_head(data, biased=biased, seed=seed, on_fit=lambda _done, _fits: None)
    return linear.weights, linear.bias, record


def objective_at(data: Examples, weights: NDArray, bias: NDArray, strength: float, *, centred: bool = True) -> float:
    """Return mean log loss and penalty as `ProbeRecord` words them."""
    rows = data.features.reshape(-1, INPUTS).astype(float)
    labels = data.labels.repeat(VIEWS)
    scale = np.sqrt(np.mean((rows - (rows.mean(axis=0) if centred else 0)) ** 2))
    loss = -log_softmax(rows @ weights.T + bias, axis=1)[np.arange(len(labels)), labels].mean()
    return float(loss + strength / 2 * np.sum((weights * scale) ** 2))


@pytest.mark.parametrize("counts", [(12, 15), (12, 9, 20)], ids=["two classes", "three classes"])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
def test_the_solution_minimises_its_objective(counts: tuple[int, ...], *, biased: bool) -> None:
    data = examples(*counts)
    weights, bias, record = fit(data, biased=biased)
    assert weights.shape == (len(counts), INPUTS)
    assert record.slope < 1e-6
    least = objective_at(data, weights, bias, record.strength, centred=biased)
    generator = np.random.default_rng(1)
    for size in (1e-2, 1e-3):
        for _ in range(20):
            other = weights + size * generator.normal(size=weights.shape)
            shifted = bias + size * generator.normal(size=bias.shape) * biased
            assert objective_at(data, other, shifted, record.strength, centred=biased) > least
    assert np.abs(bias).max() > 0 if biased else not bias.any()


@pytest.mark.parametrize("counts", [(12, 15), (12, 9, 20)], ids=["two classes", "three classes"])
def test_the_probabilities_are_those_of_scikit_learn_on_the_plain_features(counts: tuple[int, ...]) -> None:
    data = examples(*counts)
    weights, bias, record = fit(data)
    rows, labels = data.features.reshape(-1, INPUTS).astype(float), data.labels.repeat(VIEWS)
    mean_square = np.mean((rows - rows.mean(axis=0)) ** 2)
    strength = (2 if len(counts) == 2 else 1) / (record.strength * mean_square * len(rows))
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000).fit(rows, labels)
    ours = np.exp(log_softmax(rows @ weights.T + bias, axis=1))
    np.testing.assert_allclose(ours, theirs.predict_proba(rows), atol=1e-5)


def test_the_strength_is_the_one_with_the_least_loss_on_held_out_images() -> None:
    data = examples(10, 12, 14, apart=0.5)
    record = fit(data)[2]
    assert [trial.strength for trial in record.trials] == list(STRENGTHS[: len(record.trials)])
    assert record.folds == 5
    losses = dict.fromkeys(STRENGTHS[: len(record.trials)], 0.0)
    for fitted, held in make_folds(data, seed=0):
        rows, labels = data.features[fitted].reshape(-1, INPUTS).astype(float), data.labels[fitted].repeat(VIEWS)
        mean_square = np.mean((rows - rows.mean(axis=0)) ** 2)
        tested, right = data.plain[held], data.labels[held]
        for strength in losses:
            model = LogisticRegression(C=1 / (strength * mean_square * len(rows)), tol=1e-8, max_iter=10_000)
            chances = model.fit(rows, labels).predict_log_proba(tested)
            losses[strength] -= chances[np.arange(len(right)), right].sum() / len(data.labels)
    ours = {trial.strength: trial.log_loss for trial in record.trials if trial.strength > 1e-3}
    assert ours == pytest.approx({strength: losses[strength] for strength in ours}, rel=2e-3)
    assert record.strength == min(losses, key=losses.__getitem__)


def test_weaker_strengths_are_left_out_once_they_get_worse() -> None:
    record = fit(examples(20, 20, apart=0.2))[2]
    best = [trial.strength for trial in record.trials].index(record.strength)
    assert len(record.trials) == best + 1 + ENOUGH_WORSE < len(STRENGTHS)


def test_of_equal_strengths_the_strongest_is_taken() -> None:
    data = examples(6, 6)
    nothing = replace(data, features=np.zeros_like(data.features))
    weights, _, record = fit(nothing)
    assert record.strength == STRENGTHS[0]
    assert not weights.any()


def test_the_folds_hold_every_image_out_once_and_spread_the_classes() -> None:
    data = examples(10, 25)
    folds = make_folds(data, seed=3)
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(35))
    for fitted, held in folds:
        assert not set(fitted) & set(held)
        assert list(np.bincount(data.labels[held])) == [2, 5]


def test_copies_of_one_image_are_never_on_both_sides_of_a_fold() -> None:
    data = examples(20, 20)
    copied = replace(data, clusters=np.arange(40) // 4)
    for fitted, held in make_folds(copied, seed=0):
        assert not set(copied.clusters[fitted]) & set(copied.clusters[held])


def test_the_folds_depend_on_the_seed_alone() -> None:
    def held(seed: int) -> list[list[int]]:
        return [list(images) for _, images in make_folds(examples(10, 25), seed=seed)]

    assert held(2**62) == held(2**62)
    assert held(0) != held(1)


def test_the_seed_of_a_fit_draws_its_folds() -> None:
    losses = [[trial.log_loss for trial in fit(examples(10, 25), seed=seed)[2].trials] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_a_class_with_two_images_is_fitted_and_scored() -> None:
    data = examples(20, 2, apart=3.0)
    weights, bias, record = fit(data)
    assert record.folds == 5
    rows = data.features.reshape(-1, INPUTS)
    assert list((rows @ weights.T + bias).argmax(axis=1)) == list(data.labels.repeat(VIEWS))


def test_a_class_with_one_image_is_fitted_but_cannot_be_scored() -> None:
    weights, _, record = fit(examples(8, 9, 1))
    assert weights.shape == (3, INPUTS)
    assert np.isfinite([trial.log_loss for trial in record.trials]).all()


def test_few_images_make_fewer_folds_and_too_few_an_error() -> None:
    assert fit(examples(3, 2))[2].folds == 3
    for too_few in (examples(1, 1), replace(examples(4, 4), clusters=np.array([0, 0, 0, 0, 1, 1, 1, 1]))):
        with pytest.raises(DatasetError, match="too few to hold any out"):
            make_folds(too_few, seed=0)


def test_fitting_twice_gives_the_same_bits() -> None:
    (a, a_bias, _), (b, b_bias, _) = fit(examples(9, 11, 7)), fit(examples(9, 11, 7))
    assert np.array_equal(a, b)
    assert np.array_equal(a_bias, b_bias)


def test_every_fit_is_reported() -> None:
    reported: list[tuple[int, int]] = []
    fit_head(examples(10, 10), biased=True, seed=0, on_fit=lambda done, fits: reported.append((done, fits)))
    assert [done for done, _ in reported[:-1]] == list(range(1, len(reported)))
    assert {fits for _, fits in reported} == {len(STRENGTHS) * 5 + 1}
    assert reported[-1] == (len(STRENGTHS) * 5 + 1,) * 2
