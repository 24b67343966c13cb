import pytest

from ftcli.errors import RecipeError
from ftcli.recipe.yaml12 import dump_yaml, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-3", -3),
        ("007", "007"),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("~", None),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("'1'", "1"),
        ("1:30", "1:30"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = load_yaml(f"key: {text}", "f").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_keys_stay_text_whatever_they_look_like() -> None:
    assert load_yaml("no: 1\n007: 2\n1: 3\n", "f").value == {"no": 1, "007": 2, "1": 3}


def test_every_key_has_its_line() -> None:
    lines = load_yaml("a:\n  b: 1\n  c:\n    - 1\n    - 2\n", "f").lines
    assert lines["a",] == 1
    assert lines["a", "b"] == 2
    assert lines["a", "c", 1] == 5


@pytest.mark.parametrize(
    "text", ["no", "1e-3", "007", "", "~", "<<", "=", "1:30", "0o7", "true", "a: b", "- x", "ä", "a\x85b"]
)
def test_written_text_is_read_back_as_the_same_text(text: str) -> None:
    assert load_yaml(dump_yaml({"key": [text]}), "f").value == {"key": [text]}


@pytest.mark.parametrize("number", [1e-5, 1e22, 0.1, -2.5, 1e300])
def test_written_numbers_are_read_back_exactly(number: float) -> None:
    assert load_yaml(dump_yaml({"key": number}), "f").value == {"key": number}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "f:1: not valid YAML"),
        ("a: 1\nb: 2\na: 3", "f:3: a: written twice, first on line 1"),
        ("a: &x [*x]", "contains itself"),
        ("a: !!python/object/apply:os.system ['true']", "tags"),
        ("a: !!python/name:os.system x", "tags"),
        ("a: !env SECRET", "tags"),
        ("a: !!str 3", "tags"),
        ("a: !!set {b}", "tags"),
        ("a: !list [b]", "tags"),
        ("? [1]\n: 2", "a key must be a plain word"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: " + "[" * 60 + "]" * 60, "too large"),
    ],
)
def test_what_a_recipe_does_not_need_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match="f") as caught:
        load_yaml(text, "f")
    assert words in str(caught.value)


def test_aliases_that_explode_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(RecipeError, match="aliases"):
        load_yaml("\n".join(levels), "f")
