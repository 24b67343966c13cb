import pytest

from ftcli.phrases import count, duration, first_line, listed, size


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1 image is"), (0, "0 images are"), (2, "2 images are"), (1200, "1,200 images are")]
)
def test_a_count_agrees_with_its_noun_and_verb(number: int, text: str) -> None:
    assert count(number, "image is", "images are") == text


def test_a_long_list_names_the_first_and_counts_the_rest() -> None:
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdefg", most=3) == "a, b, c and 4 more"
    assert listed([]) == ""


@pytest.mark.parametrize(("size_bytes", "text"), [(999, "1.0 kB"), (5 * 10**6, "5.0 MB"), (3.21 * 10**9, "3.2 GB")])
def test_a_size_has_decimal_units(size_bytes: float, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(("seconds", "text"), [(42, "42.0 s"), (750, "12.5 min"), (11160, "3.1 h")])
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_exception_without_a_message_is_named_by_its_class() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
