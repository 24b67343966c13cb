"""Look-alikes that `ftcli check` finds with the features that runs left in the cache."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.hostile import noise
from helpers.support import Ftcli, files_of, findings_of
from PIL import Image

TRAIN, VAL, CROPS = 14, 5, 3


@pytest.fixture
def photos(hymenoptera: Path, tmp_path: Path) -> Path:
    """A few ants and bees; in val there are crops, one of them mirrored, of photos in train."""
    root = tmp_path / "photos"
    for label in ("ants", "bees"):
        for split, count in (("train", TRAIN), ("val", VAL)):
            (root / split / label).mkdir(parents=True)
            for number, photo in enumerate(sorted((hymenoptera / split / label).glob("*.jpg"))[:count]):
                shutil.copy(photo, root / split / label / f"{number:02}.jpg")
        for number in range(CROPS):
            image = Image.open(root / "train" / label / f"{number:02}.jpg")
            crop = image.crop(tuple(round(side * share) for share in (0.1, 0.9) for side in image.size))
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number == 0 else crop
            crop.save(root / "val" / label / f"crop-{number:02}.png")
    return root


def train(ftcli: Ftcli, root: Path, *overrides: str) -> None:
    Path("recipe.yaml").write_text(
        f"data: {{root: {root}, image_size: 224, workers: 0, views: 4}}\nstrategy: {{kind: feature-extract}}\n"
        "epochs: 4\nreport: false\n"
    )
    ftcli("train", "recipe.yaml", "--overwrite", "--name", "a", *overrides)


def test_crops_of_photos_are_found_once_a_run_has_left_features(ftcli: Ftcli, photos: Path) -> None:
    before = ftcli("check", photos, "--json")
    assert before.json["features"] is None
    assert not {"near-duplicate", "look-alike"} & findings_of(before).keys()
    train(ftcli, photos)
    after = ftcli("check", photos, "--json")
    assert after.json["features"] == {"model": "efficientnet_lite0", "images": 2 * (TRAIN + VAL + CROPS)}
    (finding,) = findings_of(after)["look-alike"]
    crops = [
        [f"train/{label}/{number:02}.jpg", f"val/{label}/crop-{number:02}.png"]
        for label in ("ants", "bees")
        for number in range(CROPS)
    ]
    assert sorted(files_of(finding)) == crops, "all of them, and none of the photos"
    assert finding["level"] == "warning"
    assert {**after.json, "features": None, "warnings": 0, "findings": []} == {
        **before.json,
        "warnings": 0,
        "findings": [],
    }
    text = " ".join(ftcli("check", photos).out.split())
    assert "warning [look-alike]: 6 images of val may show the same scene as an image of train" in text
    assert "compared by perceptual hash and by the cached features of efficientnet_lite0" in text


def test_a_copy_that_the_hash_finds_is_reported_once(ftcli: Ftcli, photos: Path) -> None:
    image = Image.open(photos / "train/ants/05.jpg")
    image.resize((image.width // 2, image.height // 2)).save(photos / "val/ants/smaller.png")
    train(ftcli, photos)
    found = findings_of(ftcli("check", photos, "--json"))
    pair = ["train/ants/05.jpg", "val/ants/smaller.png"]
    assert files_of(found["near-duplicate"][0]) == [pair]
    assert pair not in files_of(found["look-alike"][0])


def test_the_network_that_saw_all_images_speaks_before_one_that_saw_some(ftcli: Ftcli, root: Path) -> None:
    train(ftcli, root, "data.image_size=32", "model.name=resnet18", "model.weights=none")
    noise(100, 80, seed=[7]).save(root / "val/ants/new.png")
    Image.new("RGB", (50, 50), "red").save(root / "val/ants/nothing_to_see.png")
    assert ftcli("check", root, "--json").json["features"] == {"model": "resnet18", "images": 44}
    train(ftcli, root, "data.image_size=32", "model.name=mobilenet_v3_small", "model.weights=none", "data.augment=none")
    for description in Path(os.environ["FTCLI_CACHE"]).glob("*/description.json"):
        if '"resnet18"' in description.read_text():
            os.utime(description, (2**32, 2**32))  # used last
    assert ftcli("check", root, "--json").json["features"] == {"model": "mobilenet_v3_small", "images": 45}


def test_a_check_does_not_change_the_cache(ftcli: Ftcli, root: Path) -> None:
    for model in ("resnet18", "mobilenet_v3_small"):
        train(ftcli, root, "data.image_size=32", f"model.name={model}", "model.weights=none")
    noise(100, 80, seed=[7]).save(root / "val/ants/new.png")
    cache = Path(os.environ["FTCLI_CACHE"])
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file() and path.name != "lock"}
    for _ in range(2):
        assert ftcli("check", root, "--json").json["features"] == {"model": "mobilenet_v3_small", "images": 44}
    after = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


def test_features_that_are_not_vectors_are_ignored(ftcli: Ftcli, root: Path) -> None:
    train(ftcli, root, "data.image_size=64", "model.name=squeezenet1_1", "model.weights=none")
    assert any(Path(os.environ["FTCLI_CACHE"]).glob("*/*.safetensors"))
    assert ftcli("check", root, "--json").json["features"] is None


def test_damaged_features_are_ignored(ftcli: Ftcli, root: Path) -> None:
    train(ftcli, root, "data.image_size=32", "model.name=resnet18", "model.weights=none")
    for shard in Path(os.environ["FTCLI_CACHE"]).glob("*/*.safetensors"):
        shard.write_bytes(shard.read_bytes()[:-1])
    assert ftcli("check", root, "--json").json["features"] is None


def test_a_cache_that_cannot_be_used_is_reported_and_the_check_continues(ftcli: Ftcli, root: Path) -> None:
    train(ftcli, root, "data.image_size=32", "model.name=resnet18", "model.weights=none")
    lock = Path(os.environ["FTCLI_CACHE"]) / "lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    outcome = ftcli("check", root, "--json")
    assert outcome.json["features"] is None
    (finding,) = outcome.json["findings"]
    assert (finding["level"], finding["code"]) == ("info", "cache-unread")
    assert "since the cache cannot be used: cannot lock the cache: Is a directory." in finding["message"]
    text = " ".join(ftcli("check", root, "-q").out.split())
    assert "Images were not compared by features" in text
    assert "once a run with a frozen body was trained" not in text


def test_wrong_labels_are_found_by_features_that_check_computes(ftcli: Ftcli, photos: Path) -> None:
    for number in (11, 13):
        (photos / f"train/ants/{number}.jpg").rename(photos / f"train/bees/ant {number}.jpg")
    assert "label-suspect" not in findings_of(ftcli("check", photos, "--json"))
    outcome = ftcli("check", photos, "--features", "--html", "page.html", "--json")
    assert outcome.json["features"]["model"] == "efficientnet_lite0"
    (finding,) = findings_of(outcome)["label-suspect"]
    assert finding["level"] == "warning"
    named = {case["files"][0]: case["suspect"] for case in finding["cases"]}
    assert {"train/bees/ant 11.jpg", "train/bees/ant 13.jpg"} <= set(named)
    assert len(named) <= 5
    suspect = named["train/bees/ant 11.jpg"]
    assert (suspect["given"], suspect["suggested"]) == ("bees", "ants")
    assert findings_of(ftcli("check", photos, "--json"))["label-suspect"], "the features are in the cache now"
    page = Path("page.html").read_text()
    suspects = page.partition('<section id="labels"')[2].partition("</section>")[0]
    assert suspects.count("<img") == len(named)
    assert 'alt="train/bees/ant 11.jpg: labelled bees, looks like ants' in suspects


def test_a_page_shows_what_the_terminal_shows_and_is_no_file_of_a_run(ftcli: Ftcli, tmp_path: Path) -> None:
    for label in ("ants", "bees"):
        for number in range(3):
            path = tmp_path / f"small/{label}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise(40, 40, seed=[number, ord(label[0])]).save(path)
    shown = ftcli("check", tmp_path / "small", "--html", "page.html").out
    assert "[small-class]" in shown
    page = Path("page.html").read_text()
    assert "small-class" in page
    assert "ftcli check" in page
    assert 'id="labels"' not in page
    assert "does not exist" in ftcli("check", tmp_path / "small", "--html", "no/such/page.html", code=2).err
