"""The solver lbfgs through the real command line: what it leaves behind, what it reuses and what it refuses."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.support import Ftcli, write_images
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from ftcli.engine import logistic as strengths
from ftcli.recipe.keys import VOID_WITH_LBFGS
from ftcli.recipe.loading import load_recipe
from ftcli.runs.directory import RunDirectory
from ftcli.runs.predictions_file import read_predictions

VIEWS = re.compile(r"computing the frozen part once, for (\d+) views")
HEAD = "fc"


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 5, workers: 0, views: 2}}\n"
        "model: {name: timm/test_resnet, weights: none}\n"
        "strategy: {kind: feature-extract, solver: lbfgs}\n"
    )
    return path


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with three classes, one of which has two training images."""
    root = tmp_path_factory.mktemp("colours")
    for split, counts in (("train", (9, 8, 2)), ("val", (4, 4, 4))):
        write_images(root / split / "blue", count=counts[0], colour=(70, 90, 180))
        write_images(root / split / "green", count=counts[1], colour=(90, 180, 70))
        write_images(root / split / "red", count=counts[2], colour=(180, 90, 70))
    return root


def weights_of(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path("runs") / run / "checkpoints" / "last.safetensors")


def same(a: str, b: str) -> bool:
    one, other = weights_of(a), weights_of(b)
    return all(torch.equal(one[name], other[name]) for name in one)


def record_of(run: str) -> dict[str, Any]:
    (line,) = (Path("runs") / run / "metrics.jsonl").read_text().splitlines()
    return dict(json.loads(line))


def computed(err: str) -> list[int]:
    return [int(number) for number in VIEWS.findall(err)]


def test_a_probe_is_one_epoch_and_leaves_what_any_run_leaves(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--name", "a")
    record, summary = record_of("a"), json.loads(Path("runs/a/summary.json").read_text())
    assert (record["epoch"], record["phase"], record["cached"]) == (1, "head", True)
    assert record["lr"]["head"] == 1.0
    assert record["lr"]["layer4"] is None
    assert (summary["best_epoch"], summary["epochs"]) == (1, 1)
    assert summary["metrics"]["accuracy"]["value"] == record["val"]["accuracy"] == 1.0
    assert Path("runs/a/checkpoints/best.safetensors").is_file()
    assert ftcli("eval", "runs/a", "--json").json["metrics"]["accuracy"] == summary["metrics"]["accuracy"]
    assert "chosen on these images" not in outcome.out + ftcli("eval", "runs/a").out


def test_the_strength_and_what_it_was_chosen_from_are_recorded(ftcli: Ftcli, recipe: Path) -> None:
    err = ftcli("train", recipe, "--name", "a").err
    probe = record_of("a")["probe"]
    best = min(probe["trials"], key=lambda trial: trial["log_loss"])
    assert probe["strength"] == best["strength"]
    assert probe["folds"] == 5
    assert probe["slope"] < 1e-6
    assert f"the best of {len(probe['trials'])} in cross-validation over 5 folds of train" in err


@pytest.mark.parametrize("root", ["tiny", "colours"])
def test_the_predictions_are_those_of_scikit_learn_on_the_same_features(
    ftcli: Ftcli, recipe: Path, root: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftcli.engine import probe as probing

    seen: list[strengths.Examples] = []
    fit = probing.fit_head
    monkeypatch.setattr(probing, "fit_head", lambda data, **options: (seen.append(data), fit(data, **options))[1])
    ftcli("train", recipe, "--name", "a", f"data.root={request.getfixturevalue(root)}")
    rows = seen[0].features.reshape(-1, seen[0].features.shape[-1]).astype(float)
    labels, record = seen[0].labels.repeat(2), record_of("a")
    binary = 2 if labels.max() == 1 else 1
    strength = binary / (record["probe"]["strength"] * rows.var(axis=0).mean() * len(rows))
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000).fit(rows, labels)
    head = {
        name.rpartition(".")[2]: tensor.double().numpy() for name, tensor in weights_of("a").items() if HEAD in name
    }
    logits = rows @ head["weight"].T + head["bias"]
    ours = np.exp(logits - logits.max(axis=1, keepdims=True))
    ours /= ours.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, model.predict_proba(rows), atol=1e-4)
    assert record["train_accuracy"] == pytest.approx((ours.argmax(axis=1) == labels).mean())
    assert record["train_loss"] == pytest.approx(-np.log(ours[np.arange(len(labels)), labels]).mean(), rel=1e-3)


def test_a_class_with_two_images_is_learnt(ftcli: Ftcli, recipe: Path, colours: Path) -> None:
    ftcli("train", recipe, "--name", "a", f"data.root={colours}")
    predictions = read_predictions(Path("runs/a/predictions/val.csv"))
    assert predictions.probabilities.shape == (12, 3)
    assert record_of("a")["probe"]["folds"] == 5


def test_nothing_but_the_head_moves(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "before")
    ftcli("train", recipe, "--name", "after", "model.weights=runs/before", "data.augment=strong")
    start, end = weights_of("before"), weights_of("after")
    assert {name for name in start if not torch.equal(start[name], end[name])} == {f"{HEAD}.weight", f"{HEAD}.bias"}


def test_val_has_no_part_in_the_fit(ftcli: Ftcli, recipe: Path, tiny: Path) -> None:
    other = Path("other")
    shutil.copytree(tiny / "train", other / "train")
    write_images(other / "val" / "blue", count=3, colour=(180, 90, 70))
    write_images(other / "val" / "red", count=5, colour=(70, 90, 180))
    ftcli("train", recipe, "--name", "a")
    ftcli("train", recipe, "--name", "b", f"data.root={other}")
    assert same("a", "b")
    assert record_of("a")["probe"] == record_of("b")["probe"]
    assert record_of("b")["val"]["accuracy"] < 0.5


def test_groups_are_never_on_both_sides_of_a_fold(
    ftcli: Ftcli, recipe: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[strengths.Examples] = []
    make_folds = strengths.make_folds

    def spy(examples: strengths.Examples, *, seed: int) -> list[strengths.Fold]:
        given.append(examples)
        return make_folds(examples, seed=seed)

    monkeypatch.setattr(strengths, "make_folds", spy)
    overrides = [f"data.root={tiny / 'train'}", "data.val_fraction=0.3", "data.group_by=^00([0-9])"]
    ftcli("train", recipe, "--name", "a", *overrides)
    (examples,) = given
    groups, sizes = np.unique(examples.clusters, return_counts=True)
    assert (len(groups), set(sizes)) == (6, {2}), "a blue image and a red one in each of the six groups left in train"


def test_cold_warm_and_resolved_runs_are_bitwise_the_same(ftcli: Ftcli, recipe: Path) -> None:
    assert computed(ftcli("train", recipe, "--name", "cold").err) == [36, 12, 18]
    assert computed(ftcli("train", recipe, "--name", "warm").err) == []
    ftcli("train", "runs/cold/recipe.yaml", "--name", "again")
    assert same("cold", "warm")
    assert same("cold", "again")
    assert Path("runs/cold/recipe.yaml").read_text() == Path("runs/again/recipe.yaml").read_text()


def test_the_resolved_recipe_has_no_key_without_effect(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a")
    written = Path("runs/a/recipe.yaml").read_text()
    for path in VOID_WITH_LBFGS:
        assert f"{path[-1]}:" not in written
    assert "solver: lbfgs" in written
    assert load_recipe(Path("runs/a/recipe.yaml")).strategy == load_recipe(recipe).strategy


def test_a_later_run_with_sgd_computes_no_features_again(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "--quiet")
    later = ftcli("train", recipe, "--name", "b", "strategy.solver=sgd", "epochs=4")
    assert computed(later.err) == []
    assert [json.loads(line)["probe"] for line in Path("runs/b/metrics.jsonl").read_text().splitlines()] == [None] * 4


def test_without_a_cache_the_features_are_computed_for_the_fit_alone(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a")
    off = ftcli("train", recipe, "--name", "b", "data.cache=off")
    assert computed(off.err) == []
    assert not record_of("b")["cached"]
    a, b = weights_of("a")[f"{HEAD}.weight"], weights_of("b")[f"{HEAD}.weight"]
    assert float((a - b).norm() / b.norm()) < 1e-2
    assert record_of("b")["val"]["loss"] == pytest.approx(record_of("a")["val"]["loss"], abs=1e-3)


def test_without_augmentation_there_is_one_view(ftcli: Ftcli, recipe: Path) -> None:
    assert computed(ftcli("train", recipe, "--name", "a", "data.augment=none", "data.views=8").err) == [18, 12]


GIVEN = {
    "strategy.lr": "1e-2",
    "optimizer": "{kind: sgd}",
    "schedule": "{kind: cosine}",
    "epochs": "10",
    "patience": "3",
    "monitor": "val_loss",
    "label_smoothing": "0.0",
    "clip_grad_norm": "1.0",
    "data.views": "fresh",
}


def test_every_key_without_effect_has_its_refusal() -> None:
    assert set(GIVEN) == {".".join(path) for path in VOID_WITH_LBFGS} | {"data.views"}


@pytest.mark.parametrize(("key", "value"), GIVEN.items(), ids=GIVEN)
def test_keys_without_effect_are_refused(ftcli: Ftcli, recipe: Path, key: str, value: str) -> None:
    err = ftcli("train", recipe, f"{key}={value}", code=2).err
    assert f"override '{key}={value}': {key}: " in err
    assert "lbfgs" in err


def test_keys_without_effect_are_refused_with_their_lines_and_what_to_do(ftcli: Ftcli, recipe: Path) -> None:
    recipe.write_text(
        "data: {root: x}\nepochs: 3\nstrategy:\n  kind: feature-extract\n  lr: 1e-2\n  solver: lbfgs\n"
        "optimizer:\n  kind: adam\n"
    )
    err = ftcli("train", recipe, "optimizer.weight_decay=0.1", code=2).err
    void = "would have no effect with strategy.solver: lbfgs"
    assert f"recipe.yaml:2: epochs: {void}" in err
    assert f"recipe.yaml:5: strategy.lr: {void}" in err
    assert f"override 'optimizer.weight_decay=0.1': optimizer.weight_decay: {void}" in err


def test_a_key_of_the_file_can_be_taken_back_by_an_override(ftcli: Ftcli, recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "epochs: 3\n")
    ftcli("plan", recipe, code=2)
    ftcli("train", recipe, "--name", "a", "epochs=null")
    assert load_recipe(Path("runs/a/recipe.yaml")).epochs is None
    assert len(list(RunDirectory(Path("runs/a")).records())) == 1, "the head is fitted, in one epoch"


def test_the_plan_says_that_the_head_is_fitted(ftcli: Ftcli, recipe: Path) -> None:
    out = ftcli("plan", recipe).out
    assert "1. head: 1 epoch, 194 trainable, fitted to convergence" in out
    assert "frozen part computed once, for 66 views of images" in out
    assert re.search(r"head +194 +lbfgs", out)
    (phase,) = ftcli("plan", recipe, "--json").json["phases"]
    assert (phase["solver"], phase["epochs"], phase["lr"]["head"], phase["cache_views"]) == ("lbfgs", 1, 1.0, 66)
    assert phase["lr"]["layer4"] is None
    (off,) = ftcli("plan", recipe, "--json", "data.cache=off").json["phases"]
    assert (off["cached"], off["cache_views"], off["uncached_because"]) == (False, 0, "cache: off")


@pytest.mark.parametrize("command", [["plan"], ["train", "--name", "a"]], ids=lambda words: words[0])
def test_a_network_without_a_row_of_features_is_refused_before_anything_is_written(
    ftcli: Ftcli, recipe: Path, command: list[str]
) -> None:
    err = ftcli(*command, recipe, "model.name=squeezenet1_1", code=2).err
    assert "squeezenet1_1: strategy.solver: lbfgs cannot fit the head of this network" in err
    assert "Set strategy.solver to sgd" in err
    assert not Path("runs").exists()


def test_other_solvers_do_not_import_scikit_learns_regression(ftcli: Ftcli, recipe: Path) -> None:
    import subprocess

    code = (
        "import sys\nfrom ftcli.cli import main\n"
        f"sys.argv = ['ftcli', 'plan', {str(recipe)!r}, 'strategy.solver=sgd']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'ftcli.engine.probe' in sys.modules\nassert 'sklearn.linear_model' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
