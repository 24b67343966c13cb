"""Any text is a recipe, or an error that says where: never a traceback."""

from pathlib import Path

import pytest
import yaml
from fuzzing import attempt, cases, damaged
from hypothesis import given
from hypothesis import strategies as st

from ftcli.errors import FtcliError, RecipeError
from ftcli.recipe import Recipe
from ftcli.recipe_keys import keys_by_home
from ftcli.recipe_loading import load_recipe, recipe_text

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("**/*.yaml"))
KEYS = sorted(keys_by_home())
WORDS = [
    "sgd", "adam", "cosine", "step", "gradual", "fine-tune", "phases", "feature-extract", "from-scratch", "lbfgs",
    "all", "fresh", "auto", "off", "none", "default", "head", "layer4", "resnet18", "no", "007", "1e-3", "", "~", "<<",
    "*", "&a",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from(WORDS), st.text(max_size=8)
)
KEY = st.one_of(st.sampled_from(KEYS), st.sampled_from(WORDS), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=5), max_leaves=25
)
OVERRIDES = st.lists(
    st.builds(
        lambda path, text: f"{'.'.join(path)}={text}",
        st.lists(st.one_of(st.sampled_from(KEYS), st.sampled_from(["0", "1", "99", "", "kind"])), max_size=4),
        st.one_of(st.sampled_from(WORDS), st.text(max_size=12), st.builds(yaml.safe_dump, VALUES)),
    ),
    max_size=3,
)


def judge(path: Path, overrides: list[str]) -> None:
    """Load a recipe: it is one, which can be written and read again, or the error names the file or the override."""
    recipe = attempt(lambda: load_recipe(path, overrides))
    if isinstance(recipe, RecipeError):
        for problem in recipe.problems:
            assert problem.source == str(path) or problem.source.startswith("override "), problem
            assert problem.message
    elif isinstance(recipe, FtcliError):
        assert str(path) in str(recipe)
    else:
        again = path.with_name("again.yaml")
        again.write_text(recipe_text(recipe), encoding="utf-8")
        assert load_recipe(again) == recipe


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.yaml"


@given(text=st.text(max_size=200), overrides=OVERRIDES)
@cases(quick=100, stress=4000)
def test_any_text_is_a_recipe_or_a_located_error(path: Path, text: str, overrides: list[str]) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    judge(path, overrides)


@given(value=st.dictionaries(st.sampled_from(list(Recipe.model_fields)), VALUES, max_size=8), overrides=OVERRIDES)
@cases(quick=150, stress=6000)
def test_any_values_of_known_keys_are_a_recipe_or_a_located_error(
    path: Path, value: dict[str, object], overrides: list[str]
) -> None:
    path.write_text(yaml.safe_dump({"data": {"root": "x"}, **value}), encoding="utf-8")
    judge(path, overrides)


@given(config=st.sampled_from(CONFIGS), seed=st.integers(0, 2**32), overrides=OVERRIDES)
@cases(quick=100, stress=4000)
def test_any_damage_to_a_recipe_is_still_a_recipe_or_a_located_error(
    path: Path, config: Path, seed: int, overrides: list[str]
) -> None:
    path.write_bytes(damaged(config.read_bytes(), seed))
    judge(path, overrides)
