import re
from pathlib import Path
from typing import Any

import pytest
from helpers.support import Ftcli


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32}}\nmodel: {{name: timm/test_resnet, weights: none}}\n"
        "strategy: {kind: gradual, lr: 1e-2, lr_decay: 0.1, epochs_per_phase: 1, unfreeze: 2}\nepochs: 5\n"
    )
    return path


def test_the_plan_is_shown_as_phases_by_groups(ftcli: Ftcli, recipe: Path) -> None:
    shown = ftcli("plan", recipe)
    assert "strategy gradual: 3 phases, 5 epochs, 372,882 parameters" in shown.out
    assert "1. head: 1 epoch, 194 trainable" in shown.out
    rows = {
        line.split()[0]: line.split()[1:] for line in shown.out.splitlines() if line.startswith("  ") and line.strip()
    }
    assert rows["layer4"] == ["267,840", "frozen", "0.001", "bn", "0.001", "bn"]
    assert rows["head"] == ["194", "0.01", "0.01", "0.01"]
    assert "no phase trains stay random: stem, layer1, layer2" in shown.err


def test_batchnorm_in_eval_mode_is_not_marked_and_takes_batches_of_one(ftcli: Ftcli, recipe: Path) -> None:
    shown = ftcli("plan", recipe, "model.batchnorm=eval", "data.batch_size=1").out
    assert " bn" not in shown
    assert "bn:" not in shown


@pytest.mark.parametrize(
    "strategy", ["{kind: feature-extract}", "{kind: feature-extract, solver: lbfgs}", "{kind: from-scratch}"]
)
def test_batchnorm_in_eval_mode_is_refused_where_it_cannot_help(ftcli: Ftcli, recipe: Path, strategy: str) -> None:
    overrides = ("epochs=null", f"strategy={strategy}", "model.batchnorm=eval")
    assert "model.batchnorm: " in ftcli("plan", recipe, *overrides, code=2).err


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.01), ("adam", 0.001), ("adamw", 0.001)])
def test_the_rate_that_a_recipe_leaves_out_depends_on_the_optimizer(
    ftcli: Ftcli, recipe: Path, optimizer: str, rate: float
) -> None:
    plan = ftcli("plan", recipe, "strategy={kind: fine-tune}", f"optimizer.kind={optimizer}", "--json").json
    assert plan["phases"][0]["lr"]["head"] == rate
    assert plan["phases"][0]["lr"]["layer4"] == pytest.approx(0.3 * rate)


def test_the_plan_as_json_keeps_its_shape(ftcli: Ftcli, recipe: Path) -> None:
    plan = ftcli("plan", recipe, "--json").json
    assert plan["schema"] == 1
    assert plan["strategy"] == "gradual"
    assert plan["groups"][0] == {"name": "stem", "parameters": 7472, "batchnorm": True}
    assert [phase["epochs"] for phase in plan["phases"]] == [1, 1, 3]
    assert plan["phases"][0]["lr"] == {
        "stem": None, "layer1": None, "layer2": None, "layer3": None, "layer4": None, "head": 0.01,
    }  # fmt: skip


def test_a_dry_run_shows_the_plan_and_makes_no_run(ftcli: Ftcli, recipe: Path) -> None:
    def without_times(text: str) -> str:
        """Leave out what is measured, and where the lines that tell of it are broken."""
        return " ".join(re.sub(r"about [\d.]+ (s|min|h)|\"seconds\": [\d.e-]+", "", text).split())

    for extra in ([], ["--json"]):
        dry, plan = (ftcli(*command, recipe, *extra).out for command in (("train", "--dry-run"), ("plan",)))
        assert without_times(dry) == without_times(plan)
    assert not Path("runs").exists()


def test_the_plan_explains_only_marks_that_its_table_has(ftcli: Ftcli, recipe: Path) -> None:
    assert "bn: the group has BatchNorm" in ftcli("plan", recipe).out
    assert "bn: " not in ftcli("plan", recipe, "strategy={kind: feature-extract}").out


def test_the_plan_says_which_weights_are_not_on_this_machine(
    ftcli: Ftcli, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert ftcli("plan", recipe, "--json").json["download"] is None
    shown = ftcli("plan", recipe, "model.weights=default")
    assert "training downloads them first: timm weights timm/test_resnet.r160_in1k" in " ".join(shown.out.split())


def test_epochs_that_do_not_suffice_are_said_to_suffice_where_they_do(ftcli: Ftcli, recipe: Path) -> None:
    err = ftcli("plan", recipe, "strategy.epochs_per_phase=2", "epochs=4", code=2).err
    (needed,) = re.findall(r"at least (\d+) epochs", err)
    assert f"Set epochs to {needed} or more" in err
    assert len(ftcli("plan", recipe, "strategy.epochs_per_phase=2", f"epochs={needed}", "--json").json["phases"]) == 3


def test_a_recipe_is_read_once_also_where_it_does_not_fit(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, open_path = [], Path.open

    def counting(path: Path, *arguments: Any, **more: Any) -> Any:
        opened.append(path)
        return open_path(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", counting)
    ftcli("plan", recipe, "strategy.unfreeze=7", code=2)
    assert opened.count(recipe) == 1


def test_the_plan_says_what_will_be_cached(ftcli: Ftcli, recipe: Path) -> None:
    phases = ftcli("plan", recipe, "--json").json["phases"]
    assert [phase["cached"] for phase in phases] == [True, True, True]
    assert [phase["cache_views"] for phase in phases] == [18 + 12, 18 + 12, 3 * 18 + 12]
    assert phases[0]["cache_bytes"] == 18 * 96 * 2 + 12 * 96 * 4  # val keeps all its digits
    assert all(phase["seconds"] > 0 for phase in phases)
    assert "frozen part computed once, for 30 views of images" in ftcli("plan", recipe).out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.cache=off", "frozen part computed in every epoch: cache: off"),
        ("data.views=fresh", "frozen part computed in every epoch: data.views: fresh"),
        ("strategy={kind: from-scratch}", "nothing frozen, nothing to cache"),
    ],
)
def test_the_plan_says_why_nothing_is_cached(ftcli: Ftcli, recipe: Path, override: str, words: str) -> None:
    assert words in ftcli("plan", recipe, override).out


def test_the_forecast_of_views_is_what_training_computes(ftcli: Ftcli, recipe: Path) -> None:
    phases = ftcli("plan", recipe, "--json").json["phases"]
    computed = re.findall(r"once, for (\d+) views", ftcli("train", recipe, "--name", "a").err)
    assert sum(map(int, computed)) == sum(phase["cache_views"] for phase in phases)


def test_a_fitted_head_also_needs_training_images_without_augmentation(ftcli: Ftcli, tiny: Path) -> None:
    path = Path("fitted.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32, workers: 0, views: 2}}\n"
        "model: {name: timm/test_resnet, weights: none}\nstrategy: {kind: feature-extract, solver: lbfgs}\n"
    )
    (phase,) = ftcli("plan", path, "--json").json["phases"]
    computed = re.findall(r"once, for (\d+) views", ftcli("train", path, "--name", "a").err)
    assert sum(map(int, computed)) == phase["cache_views"] == (2 + 1) * 18 + 12


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("model.name=resnet81", 2, "resnet18"),
        ("strategy.unfreeze=7", 2, "has 5 groups before the head"),
        ("strategy={kind: fine-tune, lr: {layer5: 1e-3}}", 2, "matches no group"),
        ("strategy={kind: fine-tune, lr: {head: 0}}", 2, "must be above 0"),
        ("epochs=1", 2, "need at least 3 epochs"),
        ("data.batch_size=1", 2, "cannot train BatchNorm"),
        ("model.batchnorm=frozen", 2, "model.batchnorm"),
        ("schedule={kind: cosine, warmup_epochs: 1}", 2, "do not fit into phase 'head'"),
        ("data.root=nowhere", 3, "nowhere"),
        ("data.val_fraction=0.5", 3, "val_fraction"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_the_plan(
    ftcli: Ftcli, recipe: Path, override: str, code: int, words: str
) -> None:
    assert words in ftcli("plan", recipe, override, code=code).err


@pytest.mark.parametrize("command", ["plan", "train"])
def test_an_unknown_group_and_an_unknown_model_are_reported_at_the_place_of_their_key(
    ftcli: Ftcli, tiny: Path, command: str
) -> None:
    path = Path("wrong.yaml")
    path.write_text(
        f"data: {{root: {tiny}}}\nmodel:\n  name: resnet18\nstrategy:\n  kind: fine-tune\n  lr:\n"
        "    head: 1e-2\n    layer5: 1e-3\n"
    )
    err = ftcli(command, path, code=2).err
    assert "wrong.yaml:8: strategy.lr.layer5: matches no group of the network: stem, layer1" in err
    assert "Did you mean 'layer" in err
    path.write_text(path.read_text().replace("resnet18", "resnet81"))
    assert "wrong.yaml:3: model.name: unknown model 'resnet81'" in ftcli(command, path, code=2).err
    assert (
        "override 'model.name=resnet82': model.name: unknown model"
        in ftcli(command, path, "model.name=resnet82", code=2).err
    )
    given = "model={name: no}"
    assert f"override {given!r}: model.name: unknown model" in ftcli(command, path, given, code=2).err
    path.write_text(f"data: {{root: {tiny}}}\n")
    given = "strategy={kind: fine-tune, lr: {layer5: 1}}"
    assert f"override {given!r}: strategy.lr.layer5: matches no" in ftcli(command, path, given, code=2).err
    warm = "schedule={kind: cosine, warmup_epochs: 9}"
    assert f"override {warm!r}: schedule.warmup_epochs: 9 warm-up" in ftcli(command, path, warm, "epochs=9", code=2).err
