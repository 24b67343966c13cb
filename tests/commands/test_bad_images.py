import json
import shutil
from pathlib import Path

import pytest
from helpers.support import Ftcli, write_images
from safetensors.torch import load_file

from ftcli.runs.predictions_file import read_predictions

BAD = {
    "train/red/000.png": b"",
    "train/blue/003.png": b"<html>404</html>",
    "val/blue/001.png": None,  # cut short
}


@pytest.fixture
def damaged(tiny: Path, tmp_path: Path) -> Path:
    root = tmp_path / "damaged"
    shutil.copytree(tiny, root)
    for name, content in BAD.items():
        whole = (root / name).read_bytes()
        (root / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    return root


@pytest.fixture
def recipe(damaged: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {damaged}, image_size: 32, batch_size: 5, workers: 0, on_bad_image: skip}}\n"
        "model: {name: timm/test_resnet, weights: none}\nepochs: 1\n"
    )
    return path


def without_bad(damaged: Path, target: Path) -> Path:
    shutil.copytree(damaged, target)
    for name in BAD:
        (target / name).unlink()
    return target


def test_every_bad_image_of_train_and_val_is_named_before_a_run_is_made(ftcli: Ftcli, recipe: Path) -> None:
    err = ftcli("train", recipe, "data.on_bad_image=error", code=3).err
    assert "3 images cannot be used" in err
    assert "Or set data.on_bad_image: skip." in err
    for name in BAD:
        assert name in err
    assert not Path("runs").exists()


def test_skipped_images_are_named_and_counted_everywhere(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--name", "a", "--quiet")
    dataset = json.loads(Path("runs/a/dataset.json").read_text())
    summary = json.loads(Path("runs/a/summary.json").read_text())
    assert {image["path"] for image in dataset["skipped"]} == set(BAD)
    assert {image["path"]: image["reason"] for image in dataset["skipped"]}["train/red/000.png"].startswith(
        "the file is"
    )
    assert {name: split["images"] for name, split in dataset["splits"].items()} == {"train": 16, "val": 11}
    assert summary["skipped_images"] == 3
    page = Path("runs/a/report.html").read_text()
    assert "3 unusable images are skipped" in page
    assert page.count("train/red/000.png: ") == 1, "not in the notices, too"
    assert summary["images"] == len(read_predictions(Path("runs/a/predictions/val.csv"))) == 11
    assert "warning: 3 images that cannot be used are skipped" in outcome.err
    assert any("3 images that cannot be used" in notice for notice in summary["notices"])


def test_skipping_trains_what_a_folder_without_the_files_trains(
    ftcli: Ftcli, recipe: Path, damaged: Path, tmp_path: Path
) -> None:
    clean = without_bad(damaged, tmp_path / "clean")
    for root in ("damaged", "clean"):
        # One folder of classes, so that the cut of val is part of it.
        name = damaged if root == "damaged" else clean
        ftcli("train", recipe, "--name", root, f"data.root={name / 'train'}", "data.val_fraction=0.3")
    skipped, none_there = (
        load_file(Path("runs") / name / "checkpoints/last.safetensors") for name in ("damaged", "clean")
    )
    assert all((skipped[name] == none_there[name]).all() for name in skipped)
    again = ftcli("eval", "runs/damaged", "--json").json
    assert again["images"] == json.loads(Path("runs/damaged/summary.json").read_text())["images"]
    assert len(again["skipped"]) == 2


def test_eval_scores_what_can_be_read_and_says_what_it_skipped(ftcli: Ftcli, recipe: Path, damaged: Path) -> None:
    ftcli("train", recipe, "--name", "a")
    outcome = ftcli("eval", "runs/a", "--json", "--predictions", "p.csv")
    assert outcome.json["images"] == 11
    assert [image["path"] for image in outcome.json["skipped"]] == ["val/blue/001.png"]
    assert "1 image that cannot be used is skipped" in outcome.err
    assert "val/blue/001.png" not in read_predictions(Path("p.csv")).paths
    elsewhere = ftcli("eval", "runs/a", "--data", damaged / "train", "--json")
    assert (elsewhere.json["images"], len(elsewhere.json["skipped"])) == (16, 2)


def test_without_skip_eval_refuses_bad_images(ftcli: Ftcli, recipe: Path, tiny: Path, damaged: Path) -> None:
    ftcli("train", recipe, "--name", "a", f"data.root={tiny}", "data.on_bad_image=error")
    assert ftcli("eval", "runs/a", "--json").json["skipped"] == []
    assert "val/blue/001.png" in ftcli("eval", "runs/a", "--data", damaged, code=3).err


@pytest.mark.parametrize(("folder", "what"), [("train/red", "class 'red'"), ("val", "in val")])
def test_skipping_everything_of_a_class_or_of_val_is_an_error(
    ftcli: Ftcli, recipe: Path, damaged: Path, folder: str, what: str
) -> None:
    for path in (damaged / folder).rglob("*.png"):
        path.write_bytes(b"")
    assert what in ftcli("train", recipe, code=3).err
    assert not Path("runs").exists()


def test_plan_forecasts_from_the_images_that_will_be_used(ftcli: Ftcli, recipe: Path, damaged: Path) -> None:
    for path in sorted((damaged / "train/blue").iterdir())[:5]:
        path.write_bytes(b"")
    notices = ftcli("plan", recipe, "--json").json["notices"]
    assert any("7 images that cannot be used are skipped" in notice for notice in notices)


def test_a_cluster_in_train_and_val_is_an_error_of_plan_and_train(ftcli: Ftcli, recipe: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_images(tmp_path / "g" / split / "a", count=3, colour=(9, 9, 200))
        write_images(tmp_path / "g" / split / "b", count=3, colour=(200, 9, 9))
    overrides = [f"data.root={tmp_path / 'g'}", "data.group_by=^([0-9]+)"]
    for command in ("plan", "train"):
        err = ftcli(command, recipe, *overrides, code=3).err
        assert "3 groups of data.group_by" in err
        assert "000: train (train/a/000.png), val (val/a/000.png)" in err
    assert not Path("runs").exists()


def test_clusters_stay_together_when_val_is_cut_and_the_run_records_it(
    ftcli: Ftcli, recipe: Path, tmp_path: Path
) -> None:
    for name, colour in (("a", (9, 9, 200)), ("b", (200, 9, 9))):
        write_images(tmp_path / "g" / name, count=20, colour=colour)
    # 000.png to 009.png show one thing, 010.png to 019.png another: in both classes.
    ftcli("train", recipe, "--name", "a", f"data.root={tmp_path / 'g'}", "data.group_by=^(..)", "data.val_fraction=0.5")
    dataset = json.loads(Path("runs/a/dataset.json").read_text())
    assert dataset["group_by"] == "^(..)"
    assert {name: split["groups"] for name, split in dataset["splits"].items()} == {"train": 1, "val": 1}
    assert len({name.rpartition("/")[2][:2] for name in dataset["val_images"]}) == 1
    assert ftcli("eval", "runs/a", "--json").json["images"] == 20


@pytest.mark.parametrize(("pattern", "words"), [("(", "not a regular expression"), ("^p[0-9]+", "needs parentheses")])
def test_a_pattern_without_parentheses_is_a_wrong_recipe(ftcli: Ftcli, recipe: Path, pattern: str, words: str) -> None:
    assert words in ftcli("train", recipe, f"data.group_by={pattern}", code=2).err
