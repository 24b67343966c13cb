import numpy as np
import pytest
from scipy.stats import binom

from ftcli.evaluation.compare.pair import detectable_difference, resolution_sentence
from ftcli.evaluation.significance import sign_test


@pytest.mark.parametrize(("images", "flips"), [(153, 20), (1_000, 60), (10_000, 300)])
def test_the_detectable_difference_is_found_four_times_in_five(images, flips):
    difference = detectable_difference(images, flips)
    share = flips / images
    power = 0.0
    for flipped in range(flips * 3):
        gained = np.arange(flipped + 1)
        found = sign_test(gained, flipped - gained) < 0.05
        towards_b = binom.pmf(gained, flipped, (share + difference) / 2 / share)
        power += binom.pmf(flipped, images, share) * towards_b[found].sum()
    # The exact test stays somewhat below what the formula promises.
    assert 0.7 < power < 0.85


def test_so_few_flips_that_no_difference_could_show_have_none():
    assert detectable_difference(153, 5) is None
    assert detectable_difference(2, 1) is None
    assert "four times in five" not in resolution_sentence(153, 5)


def test_the_sentence_names_flips_and_points():
    sentence = resolution_sentence(1_000, 60)
    assert "at least 6 one-way flips (0.6 points)" in sentence
    assert "6.0 % of them flip" in sentence
