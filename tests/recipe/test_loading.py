import json
from pathlib import Path

import pytest

from ftcli.errors import RecipeError, UsageError
from ftcli.recipe.loading import load_recipe, recipe_from, recipe_text

GOOD = """
data:
  root: images
strategy:
  kind: fine-tune
  lr: {head: 1e-2, features.16: 1e-4}
epochs: 15
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return path


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_recipe_has_every_default(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert recipe.data.batch_size == 32
    assert recipe.data.views == 8
    assert recipe.optimizer.kind == "sgd"
    assert recipe.strategy.lr == {"head": 0.01, "features.16": 0.0001}


def test_a_written_recipe_reads_back_as_the_same_recipe(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["optimizer={kind: adam, betas: [0.8, 0.9]}", "data.root=007"])
    copy = tmp_path / "copy.yaml"
    copy.write_text(recipe_text(recipe))
    assert load_recipe(copy) == recipe
    assert recipe_from(json.loads(recipe.model_dump_json()), source="checkpoint") == recipe


def test_gpu_suggests_cuda_although_its_letters_are_nearer_to_cpu(recipe_file: Path) -> None:
    for given in ("gpu", "GPU"):
        (problem,) = problems_of(recipe_file, f"device={given}")
        assert "device: must be 'auto', 'cpu', 'cuda' or 'mps'" in problem
        assert problem.endswith("(did you mean 'cuda'?)")


def test_a_recipe_cannot_be_changed(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    with pytest.raises(ValueError, match="frozen"):
        recipe.epochs = 3  # type: ignore[misc]


def test_all_problems_are_reported_at_once_with_line_and_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "data:\n  root: x\n  batchsize: 32\n  augment: standart\n"
        "strategy:\n  kind: fine-tune\n  lr: {head: 0, layer4: abc}\n  unfreze: 2\n"
        "optimizer: {kind: sdg}\nepochs: '15'\nlr: 3\n"
    )
    shown = "\n".join(problems_of(path))
    for words in (
        f"{path}:3: data.batchsize: unknown key (did you mean 'batch_size'?)",
        f"{path}:4: data.augment: must be 'none', 'standard' or 'strong', not 'standart' (did you mean 'standard'?)",
        f"{path}:7: strategy.lr.head: must be above 0",
        f"{path}:7: strategy.lr.layer4: must be a number, not 'abc'",
        f"{path}:8: strategy.unfreze: unknown key (did you mean 'unfreeze'?)",
        f"{path}:9: optimizer.kind: must be one of 'sgd', 'adam', 'adamw', not 'sdg' (did you mean 'sgd'?)",
        f"{path}:10: epochs: must be a whole number, not '15'",
        f"{path}:11: lr: unknown key here; it belongs at strategy.lr",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("strategy", "key", "kinds"),
    [
        ("{kind: fine-tune, epochs_per_phase: 2}", "epochs_per_phase", "kind: gradual"),
        ("{kind: from-scratch, unfreeze: 2}", "unfreeze", "kind: fine-tune or gradual"),
    ],
)
def test_a_key_of_another_kind_is_said_to_belong_to_it(tmp_path: Path, strategy: str, key: str, kinds: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"data: {{root: x}}\nstrategy: {strategy}\n")
    (problem,) = problems_of(path)
    assert f"{path}:2: strategy.{key}: " in problem
    assert kinds in problem
    assert f"at strategy.{key}" not in problem


def test_overrides_are_read_like_keys_of_the_file(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["epochs=3", "strategy.lr.features.15=1e-5", "data.root=no", "patience=null"])
    assert recipe.epochs == 3
    assert recipe.strategy.lr == {"head": 0.01, "features.16": 0.0001, "features.15": 1e-5}
    assert recipe.data.root == "no"
    assert recipe.patience is None


def test_overrides_are_refused_like_keys_of_the_file(recipe_file: Path) -> None:
    shown = problems_of(recipe_file, "epoch=3", "seed=-1", "nonsense", "strategy.kind=gradul")
    assert "override 'epoch=3': epoch: unknown key (did you mean 'epochs'?)" in shown
    assert "override 'seed=-1': seed: must be at least 0, not -1" in shown
    assert "override 'nonsense': an override is KEY=VALUE, such as epochs=3" in shown
    assert any("override 'strategy.kind=gradul'" in line and "did you mean 'gradual'?" in line for line in shown)


def test_an_override_reaches_into_the_list_of_phases(tmp_path: Path) -> None:
    path = tmp_path / "phases.yaml"
    path.write_text(
        "data: {root: x}\nstrategy:\n  kind: phases\n"
        "  phases: [{epochs: 1, lr: {head: 1e-2}}, {epochs: 2, lr: {head: 1e-3}}]\n"
    )
    recipe = load_recipe(path, ["strategy.phases.1.lr.layer4.0=1e-4", "strategy.phases.0.epochs=5"])
    assert recipe.strategy.phases[1].lr == {"head": 0.001, "layer4.0": 0.0001}
    assert recipe.strategy.phases[0].epochs == 5
    assert "there are 2 phases, counted from 0" in problems_of(path, "strategy.phases.7.epochs=1")[0]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("strategy={kind: phases, phases: [{epochs: 1, lr: {head: 1}}]}", "epochs: would have no effect"),
        ("strategy.unfreeze=2", "unfreeze would have no effect"),
        ("data={root: d, views: fresh, share_views: false}", "data.share_views: would have no effect"),
        ("optimizer={kind: sgd, momentum: 0, nesterov: true}", "nesterov needs a momentum"),
    ],
)
def test_keys_that_cannot_both_have_an_effect_are_refused(recipe_file: Path, override: str, words: str) -> None:
    assert words in "\n".join(problems_of(recipe_file, override))


def test_weights_with_from_scratch_are_refused(recipe_file: Path) -> None:
    shown = problems_of(recipe_file, "strategy={kind: from-scratch}", "model.weights=default")
    assert "model.weights: would have no effect" in shown[0]


@pytest.mark.parametrize("override", ["format=2", "format=x", "format=null"])
def test_a_recipe_of_another_format_is_refused_before_its_keys_are_checked(recipe_file: Path, override: str) -> None:
    (shown,) = problems_of(recipe_file, override, "a_key_of_the_future=1")
    assert "this ftcli reads format 1" in shown


def test_a_missing_recipe_is_named_with_a_near_one(recipe_file: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe(recipe_file.with_name("recipee.yaml"))
    assert str(recipe_file) in str(caught.value.hint)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    assert str(path) in problems_of(path)[0]
