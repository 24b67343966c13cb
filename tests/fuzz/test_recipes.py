"""Any text is a recipe or a located error, never a traceback.

Each test also counts what it has tried, so that neither all of it is refused nor all of it taken.
"""

from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers.fuzzing import attempt, cases, damaged
from hypothesis import given
from hypothesis import strategies as st

from ftcli.errors import FtcliError, Problem, RecipeError
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_text
from ftcli.recipe.problems import keys_by_home

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
WILD_OVERRIDES = st.lists(
    st.builds(
        lambda path, text: f"{'.'.join(path)}={text}",
        st.lists(st.one_of(st.sampled_from(KEYS), st.sampled_from(["0", "1", "99", "", "kind"])), max_size=4),
        st.one_of(st.sampled_from(WORDS), st.text(max_size=12), st.builds(yaml.safe_dump, VALUES)),
    ),
    max_size=3,
)
TAME_OVERRIDES = st.lists(
    st.sampled_from(["epochs=7", "data.workers=0", "seed=3", "optimizer={kind: adam}"]), max_size=2
)
OVERRIDES = st.one_of(st.just([]), TAME_OVERRIDES, WILD_OVERRIDES)
# Values that fit their keys, so that more than one draw in a thousand is a recipe.
FITTING: dict[str, st.SearchStrategy[object]] = {
    "epochs": st.integers(1, 50),
    "patience": st.none() | st.integers(1, 9),
    "seed": st.integers(0, 2**31),
    "monitor": st.sampled_from(["val_loss", "val_accuracy"]),
    "model": st.fixed_dictionaries({}, optional={"name": st.sampled_from(WORDS), "weights": st.sampled_from(WORDS)}),
    "optimizer": st.sampled_from([{"kind": "sgd", "momentum": 0.5}, {"kind": "adam"}, {"kind": "adamw"}]),
    "schedule": st.sampled_from([{"kind": "cosine", "warmup_epochs": 1}, {"kind": "constant"}]),
    "strategy": st.one_of(
        st.fixed_dictionaries({"kind": st.just("gradual")}, optional={"epochs_per_phase": st.integers(1, 3)}),
        st.fixed_dictionaries(
            {"kind": st.just("fine-tune"), "lr": st.dictionaries(KEY, st.floats(0.1, 1), min_size=1)}
        ),
    ),
}
WHOLE_FILE = ("empty; ", "not a mapping of keys", "not a UTF-8 text file", "not valid YAML: nested too deeply")
"""How errors without a line start."""


def judge(path: Path, overrides: list[str]) -> str:
    """Load a recipe: it can be written and read again, or the error names the line or the override."""
    recipe = attempt(lambda: load_recipe(path, overrides))
    if isinstance(recipe, RecipeError):
        for problem in recipe.problems:
            assert problem.message
            check_place(problem, path)
        return "refused"
    assert not isinstance(recipe, FtcliError), "the file can be read"
    again = path.with_name("again.yaml")
    again.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(again) == recipe
    return "recipe"


def check_place(problem: Problem, path: Path) -> None:
    """Check that a problem belongs to an override, to the whole file, or to an existing line."""
    if problem.source.startswith("override ") or problem.message.startswith(WHOLE_FILE):
        return
    assert problem.source == str(path)
    assert problem.line is not None, problem
    # YAML has more line breaks than the newline, and an error may be at the end of the file.
    lines = path.read_text(encoding="utf-8").splitlines()
    assert 1 <= problem.line <= len(lines) + 1, problem


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.yaml"


@given(text=st.text(max_size=200), overrides=OVERRIDES)
@cases(quick=100, stress=4000)
def test_any_text_is_a_located_error(path: Path, text: str, overrides: list[str]) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert judge(path, overrides) == "refused", "text that nobody chose has no data.root"


def test_any_values_of_known_keys_are_a_recipe_or_a_located_error(path: Path) -> None:
    seen: Counter[str] = Counter()
    known = st.dictionaries(st.sampled_from(list(Recipe.model_fields)), VALUES, max_size=2)

    @given(fitting=st.fixed_dictionaries({}, optional=FITTING), others=st.just({}) | known, overrides=OVERRIDES)
    @cases(quick=200, stress=6000)
    def attempts(fitting: dict[str, object], others: dict[str, object], overrides: list[str]) -> None:
        path.write_text(yaml.safe_dump({"data": {"root": "x"}, **fitting, **others}), encoding="utf-8")
        seen[judge(path, overrides)] += 1

    attempts()
    assert min(seen["recipe"], seen["refused"]) >= 40, seen


def test_any_damage_to_a_recipe_is_still_a_recipe_or_a_located_error(path: Path) -> None:
    seen: Counter[str] = Counter()

    @given(config=st.sampled_from(CONFIGS), seed=st.integers(0, 2**32), overrides=TAME_OVERRIDES)
    @cases(quick=200, stress=4000)
    def attempts(config: Path, seed: int, overrides: list[str]) -> None:
        path.write_bytes(damaged(config.read_bytes(), seed))
        seen[judge(path, overrides)] += 1

    attempts()
    assert min(seen["recipe"], seen["refused"]) >= 10, seen
