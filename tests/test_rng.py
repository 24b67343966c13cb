from __future__ import annotations

import subprocess
import sys

from ftcli.rng import stable_seed


def test_the_same_parts_give_the_same_seed_in_another_process():
    script = "from ftcli.rng import stable_seed; print(stable_seed('order', 7, b'\\xff'))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(printed) == stable_seed("order", 7, b"\xff")


def test_a_seed_never_changes_between_versions():
    assert stable_seed("order", 0, 1) == 2036444387792758004


def test_parts_are_kept_apart():
    assert len({stable_seed("ab", "c"), stable_seed("a", "bc"), stable_seed("abc"), stable_seed("ab", "c", "")}) == 4


def test_a_number_its_text_and_its_bytes_give_different_seeds():
    assert len({stable_seed(1), stable_seed("1"), stable_seed(b"1")}) == 3


def test_the_order_of_the_parts_matters():
    assert stable_seed(1, 2) != stable_seed(2, 1)


def test_seeds_fit_a_signed_64_bit_integer_and_use_its_range():
    seeds = [stable_seed("image", number) for number in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == 1000
    assert max(seeds) > 2**62


def test_names_that_are_not_valid_unicode_have_a_seed():
    assert stable_seed("caf\udce9") != stable_seed("café")


def test_seeds_do_not_import_torch():
    script = "import sys, ftcli.rng; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
