import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.support import Ftcli, write_images
from safetensors.torch import load_file

from ftcli.recipe.loading import load_recipe
from ftcli.runs import checkpoint
from ftcli.runs.checkpoint import load_checkpoint

RECIPE = """
data: {{root: {root}, image_size: 32, batch_size: 5, workers: 0}}
model: {{name: {model}, weights: none}}
strategy: {{kind: feature-extract, lr: 1e-2}}
epochs: 2
"""
STRATEGIES = {
    "feature-extract": "{kind: feature-extract, lr: 1e-2}",
    "fine-tune": "{kind: fine-tune, lr: 1e-2, unfreeze: 2}",
    "fine-tune after the head": "{kind: fine-tune, lr: {head: 1e-2, blocks.4: 1e-3}, head_epochs: 1}",
    "gradual": "{kind: gradual, epochs_per_phase: 1, unfreeze: 1}",
    "phases": "{kind: phases, phases: [{epochs: 1, lr: {blocks: 1e-3, head: 1e-2}}, "
    "{epochs: 1, lr: {conv_head: 1e-3}}]}",
}


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(RECIPE.format(root=tiny, model="timm/test_efficientnet"))
    return path


def weights_of(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path("runs") / run / "checkpoints" / "last.safetensors")


def test_a_run_leaves_everything_that_is_promised(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--name", "a")
    run = Path("runs/a")
    assert outcome.out.splitlines()[-1] == str(run)
    assert sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()) == [
        ".lock",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/resume.2.safetensors",
        "dataset.json",
        "environment.json",
        "metrics.jsonl",
        "plan.json",
        "predictions/val.csv",
        "recipe.yaml",
        "report.html",
        "summary.json",
        "train.sha256",
    ]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"phase", "phase_index", "lr", "train_loss", "train_accuracy", "val", "seconds", "cached"} <= set(lines[0])
    assert lines[0]["lr"]["head"] == 0.01
    assert lines[0]["lr"]["stem"] is None
    summary = json.loads((run / "summary.json").read_text())
    spent = sum(line["seconds"] + line["features_seconds"] for line in lines)
    assert summary["images_per_second"] == pytest.approx(2 * 18 / spent, abs=0.06)
    assert [line["features_seconds"] > 0 for line in lines] == [True, False]
    best = max(lines, key=lambda line: (line["val"]["accuracy"], -line["val"]["loss"]))
    assert summary["best_epoch"] == best["epoch"]
    assert summary["metrics"]["accuracy"]["value"] == best["val"]["accuracy"]


def test_train_as_json_is_one_object_and_nothing_else(ftcli: Ftcli, recipe: Path) -> None:
    result = ftcli("train", recipe, "--name", "a", "--json").json
    assert {"schema", "run", "best_epoch", "epochs", "metrics", "seconds"} <= set(result)
    assert set(result["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert result["run"] == "runs/a"


def test_quiet_leaves_only_warnings(ftcli: Ftcli, recipe: Path) -> None:
    err = ftcli("train", recipe, "--name", "a", "--quiet").err
    assert err
    assert all(line.startswith("warning: ") for line in err.splitlines())


def test_the_resolved_recipe_trains_the_same_run_again(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "strategy=" + STRATEGIES["fine-tune"])
    ftcli("train", "runs/a/recipe.yaml", "--name", "b")
    a, b = weights_of("a"), weights_of("b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert Path("runs/a/recipe.yaml").read_text() == Path("runs/b/recipe.yaml").read_text()


def test_the_rate_that_follows_from_the_optimizer_is_written_out(ftcli: Ftcli, recipe: Path) -> None:
    given = ("strategy={kind: fine-tune}", "optimizer={kind: adamw}", "epochs=1")
    ftcli("train", recipe, "--name", "a", *given)
    assert load_recipe(Path("runs/a/recipe.yaml")).strategy.lr == 0.001
    ftcli("resume", "runs/a", "epochs=2")
    assert trained_groups(Path("runs/a")) == {"conv_head", "head"}


def test_batchnorm_in_eval_mode_keeps_the_statistics_of_the_groups_that_train(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "before", "strategy={kind: from-scratch}", "epochs=1")
    given = ("strategy=" + STRATEGIES["fine-tune"], "model={weights: runs/before, batchnorm: eval}")
    name = "model.name=timm/test_efficientnet"
    for cache in ("auto", "off"):
        ftcli("train", recipe, "--name", cache, *given, name, f"data.cache={cache}")
    start, cached, whole = weights_of("before"), weights_of("auto"), weights_of("off")
    statistics = [key for key in start if "running_" in key]
    assert all(torch.equal(start[key], cached[key]) for key in statistics)
    assert not torch.equal(start["bn2.weight"], cached["bn2.weight"])
    assert all(torch.allclose(cached[key], whole[key], rtol=1e-3, atol=1e-4) for key in start)


def test_results_do_not_depend_on_the_number_of_workers(ftcli: Ftcli, recipe: Path) -> None:
    for workers in (0, 2):
        ftcli("train", recipe, "--name", f"w{workers}", f"data.workers={workers}", "strategy={kind: from-scratch}")
    a, b = weights_of("w0"), weights_of("w2")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_frozen_groups_are_bitwise_what_they_were(ftcli: Ftcli, recipe: Path, strategy: str) -> None:
    ftcli("train", recipe, "--name", "before", "epochs=1")
    start = weights_of("before")
    overrides = [f"strategy={strategy}", "model.weights=runs/before"]
    ftcli("train", recipe, "--name", "after", *overrides, *(["epochs=null"] if "phases:" in strategy else []))
    end = weights_of("after")
    trained = trained_groups(Path("runs/after"))
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved, "something must have been trained"
    for name in moved:
        assert any(inside(name, group) for group in trained), f"{name} moved, but only {trained} were trained"
    assert {group for group in trained for name in moved if inside(name, group)} == trained


def trained_groups(run: Path) -> set[str]:
    plan = json.loads((run / "plan.json").read_text())
    return {group for phase in plan["phases"] for group, rate in phase["lr"].items() if rate is not None}


def inside(name: str, group: str) -> bool:
    """Tell whether a tensor of the small EfficientNet belongs to a group."""
    prefixes = {"stem": ("conv_stem", "bn1", "blocks.0"), "conv_head": ("conv_head", "bn2"), "head": ("classifier",)}
    return name.startswith(tuple(f"{prefix}." for prefix in prefixes.get(group, (group,))))


def test_best_weights_are_those_of_the_best_epoch_and_last_those_of_the_last(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "epochs=4", "strategy={kind: from-scratch, lr: 0.01}")
    summary = json.loads(Path("runs/a/summary.json").read_text())
    best, last = load_checkpoint(Path("runs/a")), load_checkpoint(Path("runs/a/checkpoints/last.safetensors"))
    assert best.info.epoch == summary["best_epoch"]
    assert last.info.epoch == 4
    assert best.info.val == pytest.approx(
        [json.loads(line) for line in Path("runs/a/metrics.jsonl").read_text().splitlines()][best.info.epoch - 1]["val"]
    )


def test_patience_ends_the_phase_and_not_only_the_run(ftcli: Ftcli, recipe: Path) -> None:
    phases = "{kind: phases, phases: [{epochs: 9, lr: {head: 1e-9}, patience: 2}, {epochs: 2, lr: {head: 1e-2}}]}"
    ftcli("train", recipe, "--name", "a", f"strategy={phases}", "epochs=null", "monitor=val_accuracy",
          "optimizer={kind: sgd, momentum: 0, weight_decay: 0}", "data.augment=none")  # fmt: skip
    lines = [json.loads(line) for line in Path("runs/a/metrics.jsonl").read_text().splitlines()]
    first = [line for line in lines if line["phase_index"] == 0]
    assert 5 <= len(first) < 9, "the first phase cannot get better and must end early"
    rates = [line["lr"]["head"] / 1e-9 for line in first]
    assert rates[-3] > 0.6, "patience ends the phase in the middle of its cosine"
    assert rates[-1] == pytest.approx(rates[-2] / 2), "whose rates then fall to near zero in two epochs"
    assert [line["epoch"] for line in lines] == list(range(1, len(first) + 3))


@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_network_whose_weights_are_lost_by_saving_is_refused_before_anything_is_written(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    read = checkpoint.load
    monkeypatch.setattr(
        checkpoint, "load", lambda content: {name: tensor + 1 for name, tensor in read(content).items()}
    )
    assert "timm/test_efficientnet: changed while they were saved" in ftcli(command, recipe, code=1).err
    assert not Path("runs").exists()


def test_a_first_checkpoint_that_cannot_be_read_back_ends_the_run_and_a_resume_starts_over(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.write_bytes

    def damage(path: Path, content: bytes) -> None:
        write(path, content[:-1] + bytes([content[-1] ^ 1]))

    monkeypatch.setattr(checkpoint, "write_bytes", damage)
    err = ftcli("train", recipe, "--name", "a", code=1).err
    assert "last.safetensors: the checkpoint could not be read back" in err
    assert not list(Path("runs/a/checkpoints").glob("[lb]*.safetensors"))
    monkeypatch.setattr(checkpoint, "write_bytes", write)
    assert "the run starts over" in ftcli("resume", "runs/a").err
    ftcli("eval", "runs/a")


def test_a_batch_of_one_never_reaches_a_training_batchnorm(ftcli: Ftcli, tmp_path: Path, recipe: Path) -> None:
    write_images(tmp_path / "odd/train/a", count=3, colour=(200, 0, 0))
    write_images(tmp_path / "odd/train/b", count=2, colour=(0, 0, 200))
    write_images(tmp_path / "odd/val/a", count=1, colour=(200, 0, 0))
    ftcli("train", recipe, "--name", "a", f"data.root={tmp_path / 'odd'}", "data.batch_size=2",
          "strategy={kind: from-scratch}")  # fmt: skip
    assert Path("runs/a/summary.json").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--name", "a", "strategy={kind: from-scratch, lr: 1e30}", code=1)
    assert "phase 'scratch', epoch 1, batch" in outcome.err
    assert "stem: 9.62e+29" in outcome.err


def test_a_val_loss_that_is_not_finite_stops_the_run_too(ftcli: Ftcli, recipe: Path) -> None:
    diverges = ["model.name=mobilenet_v3_small", "strategy={kind: from-scratch, lr: 0.5}", "epochs=9"]
    outcome = ftcli("train", recipe, "--name", "a", *diverges, code=1)
    assert "phase 'scratch', epoch" in outcome.err
    assert "NaN" not in Path("runs/a/metrics.jsonl").read_text()


def test_training_from_another_run_takes_its_head_where_the_classes_are_the_same(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "epochs=4")
    ftcli("train", recipe, "--name", "b", "model.weights=runs/a", "strategy.lr=1e-12", "epochs=1")
    a, b = json.loads(Path("runs/a/summary.json").read_text()), json.loads(Path("runs/b/summary.json").read_text())
    assert b["metrics"]["log_loss"]["value"] == pytest.approx(a["metrics"]["log_loss"]["value"], rel=1e-5)


def test_another_model_s_run_is_refused_as_weights(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "epochs=1")
    outcome = ftcli("train", recipe, "--name", "b", "model.weights=runs/a", "model.name=resnet18", code=2)
    assert "holds a timm/test_efficientnet, not a resnet18" in outcome.err
    assert not Path("runs/b").exists()


def test_an_existing_run_is_only_replaced_when_told_so(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "epochs=1")
    assert "--overwrite" in ftcli("train", recipe, "--name", "a", code=2).err
    ftcli("train", recipe, "--name", "a", "--overwrite", "epochs=2")
    assert len(Path("runs/a/metrics.jsonl").read_text().splitlines()) == 2
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a"]


@pytest.mark.parametrize(
    "command",
    [
        "eval runs/a",
        "eval runs/a/checkpoints/best.safetensors",
        "eval runs/b --predictions runs/a/more.csv",
        "report runs/a",
        "compare runs/b runs/a",
        "train --resume runs/a",
        "train recipe.yaml --name c model.weights=runs/a epochs=1",
    ],
)
def test_a_run_that_was_being_replaced_when_the_process_died_is_found(ftcli: Ftcli, recipe: Path, command: str) -> None:
    """As a kill leaves it between the two renames of `--overwrite`."""
    for name in ("a", "b"):
        ftcli("train", recipe, "--name", name, "epochs=1")
    place = Path("runs/.a.ftcli-0a1b2c3d")
    (place / "new").mkdir(parents=True)
    (place / "ftcli.lock").touch()
    Path("runs/a").rename(place / "old")
    ftcli(*command.split())
    assert {path.name for path in Path("runs").iterdir()} - {"c"} == {"a", "b"}


@pytest.mark.parametrize("seeds", [(), ("--seeds", "0,1")])
def test_a_run_does_not_become_a_class_of_its_own_images(
    ftcli: Ftcli, recipe: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch, seeds: tuple[str, ...]
) -> None:
    given = (recipe.absolute(), "--name", "a", "epochs=1", *seeds)
    monkeypatch.chdir(damaged / "train")
    err = ftcli("train", *given, "data.root=.", code=2).err
    assert "error: runs/a: is inside the image folder ." in err
    assert not Path("runs").exists()
    err = ftcli("train", *given, f"data.root={damaged}", "--runs", "red", code=2).err
    assert f"error: red/a: is inside the image folder {damaged}" in err
    ftcli("train", *given, "data.root=.", "--runs", ".runs")
    monkeypatch.chdir(damaged)
    ftcli("train", *given, "data.root=.")
    ftcli("train", *given, "data.root=.", "--overwrite")


def test_the_name_of_a_run_that_was_being_replaced_is_taken(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "epochs=1")
    (Path("runs/.a.ftcli-0a1b2c3d") / "new").mkdir(parents=True)
    Path("runs/.a.ftcli-0a1b2c3d/ftcli.lock").touch()
    Path("runs/a").rename("runs/.a.ftcli-0a1b2c3d/old")
    err = ftcli("train", recipe, "--name", "a", code=2).err
    assert "runs/a: already exists" in err
    assert "checking" not in err, "before any image is looked at"
    assert Path("runs/a/summary.json").is_file()


def test_overwrite_does_not_touch_what_is_no_run(ftcli: Ftcli, recipe: Path) -> None:
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/thesis.tex").write_text("years of work")
    assert "is not overwritten" in ftcli("train", recipe, "--name", "mine", "--overwrite", code=2).err
    assert Path("runs/mine/thesis.tex").exists()


@pytest.fixture
def damaged(tiny: Path, tmp_path: Path) -> Path:
    root = tmp_path / "damaged"
    shutil.copytree(tiny, root)
    return root


def test_a_corrupt_image_is_named_before_training(ftcli: Ftcli, recipe: Path, damaged: Path) -> None:
    whole = (damaged / "train/red/000.png").read_bytes()
    (damaged / "train/red/000.png").write_bytes(whole[: len(whole) // 2])
    (damaged / "val/blue/001.png").write_bytes(b"")
    outcome = ftcli("train", recipe, f"data.root={damaged}", code=3)
    assert "train/red/000.png" in outcome.err
    assert not Path("runs").exists()


def test_a_class_that_train_lacks_is_named(ftcli: Ftcli, recipe: Path, damaged: Path) -> None:
    write_images(damaged / "val/green", count=1, colour=(0, 200, 0))
    assert "green" in ftcli("train", recipe, f"data.root={damaged}", code=3).err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("data.rot=x", 2, "did you mean 'root'?"),
        ("strategy={kind: fine-tune, lr: {haed: 1e-2}}", 2, "haed"),
        ("strategy.lr=0", 2, "must be above 0"),
        ("data.root=missing", 3, "missing"),
        ("model.weights=missing.pth", 2, "missing.pth"),
        ("device=cuda", None, "cuda"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_no_run(
    ftcli: Ftcli, recipe: Path, override: str, code: int | None, words: str
) -> None:
    if override == "device=cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    outcome = ftcli("train", recipe, override, code=code)
    assert outcome.code in {2, 3}
    assert words in outcome.err
    assert not Path("runs").exists()


def test_a_run_in_another_place_is_made_there(ftcli: Ftcli, recipe: Path, tmp_path: Path) -> None:
    ftcli("train", recipe, "--runs", tmp_path / "elsewhere", "--name", "a", "epochs=1")
    assert (tmp_path / "elsewhere/a/summary.json").exists()
    default = ftcli("train", recipe, "epochs=1").out.splitlines()[-1]
    assert default.startswith("runs/recipe-")
    assert default.endswith("-s0")


@pytest.mark.parametrize(
    "option",
    [("--name", "a"), ("--runs", "x"), ("--overwrite",), ("--seeds", "0,1"), ("--max-minutes", "0")],
    ids=lambda option: option[0],
)
def test_a_dry_run_refuses_options_that_it_would_ignore(ftcli: Ftcli, recipe: Path, option: tuple[str, ...]) -> None:
    refused = ftcli("train", recipe, "--dry-run", *option, code=2).err
    assert f"{option[0]} cannot be combined with --dry-run" in refused
