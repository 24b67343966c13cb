from pathlib import Path

import pytest
from support import Ftcli


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32}}\nmodel: {{name: resnet18, weights: none}}\n"
        "strategy: {kind: gradual, lr: 1e-2, lr_decay: 0.1, epochs_per_phase: 1, unfreeze: 2}\nepochs: 5\n"
    )
    return path


def test_the_plan_is_shown_as_phases_by_groups(ftcli: Ftcli, recipe: Path) -> None:
    shown = ftcli("plan", recipe)
    assert "strategy gradual: 3 phases, 5 epochs, 11,177,538 parameters" in shown.out
    assert "1. head: 1 epoch, 1,026 trainable" in shown.out
    rows = {
        line.split()[0]: line.split()[1:] for line in shown.out.splitlines() if line.startswith("  ") and line.strip()
    }
    assert rows["layer4"] == ["8,393,728", "frozen", "0.001", "bn", "0.001", "bn"]
    assert rows["head"] == ["1,026", "0.01", "0.01", "0.01"]
    assert "no phase trains: stem, layer1, layer2" in shown.err


def test_the_plan_as_json_keeps_its_shape(ftcli: Ftcli, recipe: Path) -> None:
    plan = ftcli("plan", recipe, "--json").json
    assert plan["schema"] == 1
    assert plan["strategy"] == "gradual"
    assert plan["groups"][0] == {"name": "stem", "parameters": 9536, "batchnorm": True}
    assert [phase["epochs"] for phase in plan["phases"]] == [1, 1, 3]
    assert plan["phases"][0]["lr"] == {
        "stem": None, "layer1": None, "layer2": None, "layer3": None, "layer4": None, "head": 0.01,
    }  # fmt: skip


def test_a_dry_run_shows_the_plan_and_makes_no_run(ftcli: Ftcli, recipe: Path) -> None:
    assert ftcli("train", recipe, "--dry-run").out == ftcli("plan", recipe).out
    assert ftcli("train", recipe, "--dry-run", "--json").json == ftcli("plan", recipe, "--json").json
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("model.name=resnet81", 2, "resnet18"),
        ("strategy.unfreeze=7", 2, "there are 5 groups besides the head"),
        ("strategy={kind: fine-tune, lr: {layer5: 1e-3}}", 2, "matches no group"),
        ("strategy={kind: fine-tune, lr: {head: 0}}", 2, "must be above 0"),
        ("epochs=1", 2, "need at least 3 epochs"),
        ("data.batch_size=1", 2, "cannot train BatchNorm"),
        ("schedule={kind: cosine, warmup_epochs: 1}", 2, "leave nothing of phase 'head'"),
        ("data.root=nowhere", 3, "nowhere"),
        ("data.val_fraction=0.5", 3, "val_fraction"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_the_plan(
    ftcli: Ftcli, recipe: Path, override: str, code: int, words: str
) -> None:
    assert words in ftcli("plan", recipe, override, code=code).err
