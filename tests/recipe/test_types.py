from pathlib import Path
from typing import get_args

import pytest
from helpers.support import Ftcli

from ftcli.metrics import COMPARABLE
from ftcli.recipe.loading import load_recipe, recipe_text
from ftcli.recipe.types import Condition, ExpectedName, parse_condition


def _recipe(text: str) -> Path:
    path = Path("recipe.yaml")
    path.write_text(f"data: {{root: digits}}\n{text}\n")
    return path


def test_every_metric_may_be_expected_of_any_images_of_val_and_of_test() -> None:
    metrics = {*COMPARABLE, "worst_class_recall"}
    assert set(get_args(ExpectedName)) == {f"{split}{name}" for split in ("", "val_", "test_") for name in metrics}


def test_a_condition_may_be_below_zero() -> None:
    assert parse_condition("> -.5") == Condition(">", -0.5)


@pytest.mark.parametrize("text", [">= 0.9", ">=0.9", " >=  9e-1 ", ">= .9"])
def test_a_condition_is_a_sign_and_a_number(text: str) -> None:
    assert parse_condition(text) == Condition(">=", 0.9)


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ('{val_acuracy: ">= 0.9"}', "expect.val_acuracy: is not a metric (did you mean 'val_accuracy'?)"),
        ('{beauty: ">= 0.9"}', "expect.beauty: is not a metric; it must be 'accuracy'"),
        ("{val_accuracy: 0.9}", 'must be a comparison, in quotes, such as ">= 0.9"'),
        ('{val_accuracy: "= 0.9"}', "must be a comparison with a number"),
        ('{val_accuracy: ">= 90"}', "can never hold; it goes from 0 to 1"),
        ('{val_log_loss: "< 0"}', "can never hold; it goes from 0 upwards"),
        ("\n  val_accuracy: >= 0.9", "put text that begins with > in quotes"),
        ("{val_accuracy: >= 0.9}", "put text that begins with > in quotes"),
        ("[val_accuracy]", "must be a mapping of keys"),
    ],
)
def test_what_cannot_be_expected_is_refused_with_its_line(ftcli: Ftcli, expect: str, words: str) -> None:
    outcome = ftcli("plan", _recipe(f"expect: {expect}"), code=2)
    assert words in outcome.err
    assert "recipe.yaml:" in outcome.err


def test_an_override_needs_no_quotes_that_the_shell_would_take_off() -> None:
    recipe = load_recipe(_recipe(""), ["expect.val_accuracy=>= 0.9", "expect.val_ece=<= 0.1"])
    assert recipe.expect == {"val_accuracy": ">= 0.9", "val_ece": "<= 0.1"}


def test_an_override_that_can_never_hold_is_named_itself(ftcli: Ftcli) -> None:
    recipe = _recipe('expect: {val_macro_f1: ">= 0.5"}')
    outcome = ftcli("plan", recipe, "expect.val_accuracy=>= 90", code=2)
    assert "override 'expect.val_accuracy=>= 90': expect.val_accuracy: '>= 90' can never hold" in outcome.err
    assert "recipe.yaml" not in outcome.err


def test_every_condition_that_can_never_hold_is_reported_at_its_line(ftcli: Ftcli) -> None:
    outcome = ftcli("plan", _recipe('expect:\n  val_accuracy: ">= 90"\n  val_ece: "< 0"'), code=2)
    assert "recipe.yaml:3: expect.val_accuracy: '>= 90' can never hold" in outcome.err
    assert "recipe.yaml:4: expect.val_ece: '< 0' can never hold" in outcome.err


def test_expectations_survive_being_written() -> None:
    recipe = load_recipe(_recipe('expect: {val_accuracy: ">= 0.9"}'))
    Path("again.yaml").write_text(recipe_text(recipe))
    assert load_recipe(Path("again.yaml")) == recipe
