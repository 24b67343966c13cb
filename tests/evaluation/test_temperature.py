import numpy as np
import pytest

from ftcli.errors import UsageError
from ftcli.evaluation.resampling import metric_values
from ftcli.evaluation.temperature import calibrate, fit_temperature, tempered


@pytest.mark.parametrize("sharpness", [1.0, 2.0, 6.0])
def test_the_temperature_that_was_put_in_is_found(drawn, sharpness):
    # At a sharpness of 2 the model is calibrated.
    assert fit_temperature(drawn(20_000, 4, seed=0, sharpness=sharpness)) == pytest.approx(sharpness / 2, rel=0.05)


def test_no_other_temperature_has_a_lower_log_loss(drawn):
    predictions = drawn(300, 3, seed=1, sharpness=5.0)
    best = fit_temperature(predictions)
    losses = [
        metric_values(tempered(predictions, np.full(300, temperature)))["log_loss"]
        for temperature in (best, 0.97 * best, 1.03 * best)
    ]
    assert losses[0] < min(losses[1:])


def test_a_temperature_changes_no_label(drawn):
    predictions = drawn(200, 5, seed=2)
    assert (tempered(predictions, np.full(200, 3.0)).predicted == predictions.predicted).all()


def test_overconfidence_is_healed_on_images_that_the_fit_has_not_seen(drawn):
    fitted, scored = drawn(500, 3, seed=3, sharpness=6.0), drawn(500, 3, seed=4, sharpness=6.0)
    scored = type(scored)(
        scored.classes,
        scored.paths,
        tuple(f"other {name}" for name in scored.sha256),
        scored.labels,
        scored.probabilities,
    )
    found = calibrate(fitted, scored, source="val")
    assert found.folds == 0
    assert found.temperature == pytest.approx(3, rel=0.2)
    assert found.metrics["log_loss"].high < 0
    assert found.metrics["ece"].b < found.metrics["ece"].a
    assert sum(each.images for each in found.bins) == 500
    assert not found.unbounded


def test_images_that_are_fitted_and_scored_are_cross_fitted(drawn):
    predictions = drawn(60, 3, seed=5, sharpness=6.0)
    found = calibrate(predictions, predictions, source="val")
    assert found.folds == 5
    in_sample = metric_values(tempered(predictions, np.full(60, found.temperature)))["log_loss"]
    # The fit's own images would flatter it.
    assert found.metrics["log_loss"].b > in_sample


def test_no_image_is_judged_by_a_temperature_that_it_took_part_in(drawn):
    # One image is wrong with certainty: with it, the temperature is far higher than without.
    predictions = drawn(50, 2, seed=6)
    probabilities = np.full((50, 2), 0.01)
    probabilities[np.arange(50), predictions.labels] = 0.99
    probabilities[7] = probabilities[7][::-1]
    predictions = type(predictions)(
        predictions.classes, predictions.paths, predictions.sha256, predictions.labels, probabilities
    )
    from ftcli.evaluation.temperature import _cross_fitted

    temperatures = _cross_fitted(predictions, predictions)
    own = temperatures[7]
    assert (temperatures == own).sum() == pytest.approx(10, abs=2)
    assert (temperatures[temperatures != own] > 2 * own).all()


@pytest.mark.parametrize("confidence", [0.6, 0.9])
def test_a_model_that_is_always_right_has_no_best_temperature(scored, confidence):
    predictions = scored([0, 1] * 20, [0, 1] * 20, confidence=confidence)
    assert calibrate(predictions, predictions, source="val").unbounded


def test_probabilities_of_zero_are_survived(scored):
    predictions = scored([0, 1] * 20, [0, 1] * 19 + [1, 0], confidence=1.0)
    found = calibrate(predictions, predictions, source="val")
    assert np.isfinite(found.metrics["log_loss"].b)


def test_too_few_images_are_refused(scored):
    few = scored([0, 1], [0, 1])
    with pytest.raises(UsageError, match="at least 5"):
        calibrate(few, few, source="val")
