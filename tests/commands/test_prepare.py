"""Every command cuts val as training does, and no cut parts copies."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.hostile import noise
from helpers.support import Ftcli, findings_of

from ftcli.runs.checkpoint import load_checkpoint, save_checkpoint
from ftcli.runs.predictions_file import read_predictions

RECIPE = """\
data: {{root: {root}, image_size: 32, workers: 0, augment: none, val_fraction: 0.3}}
model: {{name: timm/test_resnet, weights: none}}
epochs: 1
"""


@pytest.fixture
def twice(root: Path) -> Path:
    """One folder of class folders in which every image lies twice; `recipe.yaml` trains on it."""
    folder = root / "train"
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"again {path.name}"))
    Path("recipe.yaml").write_text(RECIPE.format(root=folder))
    return folder


def trained_on(run: str) -> set[str]:
    return {line[:64] for line in Path(run, "train.sha256").read_text().splitlines()}


def test_no_content_is_on_both_sides_where_every_image_lies_twice(ftcli: Ftcli, twice: Path) -> None:
    images = ftcli("train", "recipe.yaml", "--name", "a").err
    assert "is in train and in val" not in images
    val = read_predictions(Path("runs/a/predictions/val.csv"))
    assert not trained_on("runs/a") & set(val.sha256)
    assert len(val) == 12
    assert len(set(val.sha256)) == 6
    recorded = json.loads(Path("runs/a/dataset.json").read_text())
    assert sorted(recorded["val_images"]) == sorted(val.paths)

    scored = ftcli("eval", "runs/a", "--predictions", "again.csv", "--json").json
    assert scored["seen"]["trained_on"] == 0
    assert read_predictions(Path("again.csv")).paths == val.paths
    ftcli("resume", "runs/a", "epochs=2")
    assert read_predictions(Path("runs/a/predictions/val.csv")).paths == val.paths
    (phase,) = ftcli("plan", "recipe.yaml", "--json").json["phases"]
    assert phase["cache_views"] == 48
    checked = ftcli("check", "recipe.yaml", "--json")
    warnings = {finding["code"] for finding in checked.json["findings"] if finding["level"] != "info"}
    assert warnings - {"small-class"} == {"duplicate"}
    assert checked.json["contents"]["splits"]["val"]["images"] == 12


def test_check_and_plan_show_the_cut_that_copies_change(ftcli: Ftcli, root: Path) -> None:
    folder = root / "train"
    for number in range(8):  # more than the share that becomes val, and so all of them stay in train
        shutil.copy(folder / "ants/00.png", folder / f"ants/copy{number}.png")
    Path("recipe.yaml").write_text(RECIPE.format(root=folder))
    ftcli("train", "recipe.yaml", "--name", "a")
    val = json.loads(Path("runs/a/dataset.json").read_text())["splits"]["val"]["per_class"]
    assert ftcli("check", "recipe.yaml", "--json").json["contents"]["splits"]["val"]["per_class"] == val
    assert ftcli("eval", "runs/a", "--json").json["images"] == sum(val.values())


def test_near_duplicates_stay_together_where_the_recipe_says_so(ftcli: Ftcli, root: Path) -> None:
    folder = root / "train"
    for path in sorted(folder.rglob("*.png")):
        smooth = noise(25, 20, seed=[int(path.stem), ord(path.parent.name[0])])
        smooth.resize((100, 80)).save(path)
        smooth.resize((90, 72)).save(path.with_name(f"small {path.name}"))
    Path("recipe.yaml").write_text(RECIPE.format(root=folder))
    parted = findings_of(ftcli("check", "recipe.yaml", "--json"))["near-duplicate"]
    assert "data.keep_together: similar" in parted[0]["advice"]
    assert "near-duplicate" not in findings_of(ftcli("check", folder, "--keep-together", "similar", "--json"))

    ftcli("train", "recipe.yaml", "--name", "a", "data.keep_together=similar")
    val = set(json.loads(Path("runs/a/dataset.json").read_text())["val_images"])
    originals = {name.replace("small ", "") for name in val}
    assert val == originals | {name.replace("/", "/small ") for name in originals}
    assert ftcli("eval", "runs/a", "--predictions", "again.csv", "--json").json["images"] == len(val)
    assert set(read_predictions(Path("again.csv")).paths) == val


def test_similar_images_are_kept_together_only_where_val_is_cut(ftcli: Ftcli, root: Path) -> None:
    Path("recipe.yaml").write_text(f"data: {{root: {root}, keep_together: similar}}\n")
    assert "keep_together: similar would be ignored" in ftcli("train", "recipe.yaml", code=3).err


def test_a_run_of_an_earlier_version_is_scored_on_the_val_that_it_had(ftcli: Ftcli, root: Path) -> None:
    folder = root / "train"
    Path("recipe.yaml").write_text(RECIPE.format(root=folder))
    ftcli("train", "recipe.yaml", "--name", "a")
    val = read_predictions(Path("runs/a/predictions/val.csv"))
    best = load_checkpoint(Path("runs/a"))
    data = {key: value for key, value in best.info.recipe["data"].items() if key != "keep_together"}
    info = replace(best.info, recipe={**best.info.recipe, "data": data})
    save_checkpoint(Path("earlier.safetensors"), best.state_dict, info)
    ants = [name for name in val.paths if name.startswith("ants/")]
    kept = next(path for path in sorted((folder / "ants").iterdir()) if f"ants/{path.name}" not in ants)
    shutil.copy(folder / ants[0], kept)  # now one content is on both sides of the cut by names
    ftcli("eval", "earlier.safetensors", "--predictions", "again.csv")
    assert read_predictions(Path("again.csv")).paths == val.paths
