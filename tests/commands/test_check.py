import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.hostile import encoded, noise
from helpers.support import Ftcli, files_of, findings_of
from PIL import Image

from ftcli.metrics import MONITORS


def test_a_clean_dataset_passes_and_is_described(ftcli: Ftcli, root: Path) -> None:
    outcome = ftcli("check", root, "--json")
    result = outcome.json
    assert result["findings"] == []
    assert (result["schema"], result["root"], result["errors"], result["warnings"]) == (1, str(root), 0, 0)
    contents = result["contents"]
    assert contents["splits"]["train"] == {"images": 24, "per_class": {"ants": 12, "bees": 12}}
    assert contents["imbalance"] == 1.0
    assert contents["histograms"] == {
        "shorter_side": {"64-127": 44},
        "mode": {"RGB": 44},
        "format": {"PNG": 44},
        "orientation": {"1": 44},
        "median_width": 100,
        "median_height": 80,
    }
    text = ftcli("check", root).out
    assert text.endswith("Nothing wrong was found.\n")
    assert "shorter side 64-127: 44" in text
    assert "compared by perceptual hash alone, which finds no crops" in " ".join(text.split())


def test_modes_sizes_and_orientations_are_counted_as_the_files_have_them(ftcli: Ftcli, root: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for number, options in enumerate([{"exif": turned}, {"exif": turned}, {}]):
        photo = Image.open(root / "train/ants/00.png").resize((90 + number, 40)).rotate(90 * number)
        (root / f"train/ants/photo{number}.jpg").write_bytes(encoded(photo, "JPEG", **options))
    Image.open(root / "train/ants/01.png").convert("CMYK").resize((20, 3000)).save(root / "train/bees/strip.tif")
    histograms = ftcli("check", root, "--json").json["contents"]["histograms"]
    assert histograms["orientation"] == {"1": 46, "6": 2}
    assert histograms["mode"] == {"RGB": 47, "CMYK": 1}
    assert histograms["format"] == {"PNG": 44, "JPEG": 3, "TIFF": 1}
    assert histograms["shorter_side"] == {"1-31": 1, "32-63": 3, "64-127": 44}
    assert "EXIF    2 images turned or mirrored" in ftcli("check", root).out


def test_one_image_in_two_splits_is_an_error_and_within_one_a_warning(ftcli: Ftcli, root: Path) -> None:
    shutil.copy(root / "train/ants/00.png", root / "val/ants/other_name.png")
    shutil.copy(root / "train/ants/01.png", root / "train/ants/again.png")
    found = findings_of(ftcli("check", root, "--json", code=3))
    (leak,), (duplicate,) = found["leak"], found["duplicate"]
    assert (leak["level"], files_of(leak)) == ("error", [["train/ants/00.png", "val/ants/other_name.png"]])
    assert (duplicate["level"], files_of(duplicate)) == ("warning", [["train/ants/01.png", "train/ants/again.png"]])
    assert "label-conflict" not in found
    assert "near-duplicate" not in found, "what is the same is not said to be alike as well"
    text = ftcli("check", root, code=3).out
    assert "train/ants/00.png = val/ants/other_name.png" in text
    assert text.endswith("1 error, 1 warning.\n")


def test_val_and_test_that_share_images_are_a_warning(ftcli: Ftcli, root: Path) -> None:
    (root / "test").mkdir()
    shutil.copytree(root / "val/ants", root / "test/ants")
    found = findings_of(ftcli("check", root, "--json"))
    assert [(leak["level"], len(leak["cases"])) for leak in found["leak"]] == [("warning", 10)]


def test_one_image_under_two_labels_is_an_error(ftcli: Ftcli, root: Path) -> None:
    shutil.copy(root / "train/ants/00.png", root / "train/bees/mistake.png")
    (conflict,) = findings_of(ftcli("check", root, "--json", code=3))["label-conflict"]
    (case,) = conflict["cases"]
    assert case == {"files": ["train/ants/00.png", "train/bees/mistake.png"], "note": "ants and bees", "splits": []}


def test_a_copy_under_another_label_is_not_a_copy_to_remove(ftcli: Ftcli, root: Path) -> None:
    shutil.copy(root / "train/ants/00.png", root / "train/bees/mistake.png")
    assert "duplicate" not in findings_of(ftcli("check", root, "--json", code=3))


def test_a_val_cut_from_train_is_reported(ftcli: Ftcli, root: Path) -> None:
    assert ftcli("check", root, "--json").json["contents"]["val_fraction"] is None
    shutil.rmtree(root / "val")
    for split in (root / "train").iterdir():
        split.rename(root / split.name)
    (root / "train").rmdir()
    assert ftcli("check", root, "--val-fraction", "0.25", "--json").json["contents"]["val_fraction"] == 0.25
    assert "val is cut from train: 25%" in ftcli("check", root, "--val-fraction", "0.25").out


@pytest.mark.parametrize("change", ["smaller and JPEG", "mirrored", "grey"])
def test_a_copy_that_was_changed_is_found_in_another_split(ftcli: Ftcli, root: Path, change: str) -> None:
    source = Image.open(root / "train/ants/00.png")
    changed = {
        "smaller and JPEG": lambda: source.resize((75, 60)),
        "mirrored": lambda: source.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "grey": lambda: source.convert("L"),
    }[change]()
    (root / "val/ants/changed.jpg").write_bytes(encoded(changed, "JPEG", quality=80))
    found = findings_of(ftcli("check", root, "--json"))
    (case,) = found["near-duplicate"][0]["cases"]
    assert case["files"] == ["train/ants/00.png", "val/ants/changed.jpg"]
    assert case["note"].startswith("mirrored; ") == (change == "mirrored")


def test_imbalance_small_classes_and_files_outside_the_classes_are_reported(ftcli: Ftcli, root: Path) -> None:
    for number in range(2, 12):
        (root / f"train/bees/{number:02}.png").unlink()
    (root / "loose.png").write_bytes(b"")
    (root / "notes.txt").write_text("")
    outcome = ftcli("check", root, "--json")
    found = findings_of(outcome)
    assert "6.0 times as many images in train as class bees (12 and 2)" in found["imbalance"][0]["message"]
    advice = found["imbalance"][0]["advice"]
    assert "Add images of bees; or leave out images of ants" in advice
    assert advice.partition("monitor: ")[2].rstrip(".") in set(MONITORS) - {"val_accuracy", "val_loss"}
    assert outcome.json["contents"]["imbalance"] == 6.0
    assert [case["note"] for case in found["small-class"][0]["cases"]] == ["bees: 2 in train"]
    assert found["small-class"][0]["advice"] == "Add images.", (
        "val has a folder, which data.val_fraction would contradict"
    )
    assert files_of(found["no-label"][0]) == [["loose.png"]]
    assert (files_of(found["stray"][0]), found["stray"][0]["level"]) == ([["notes.txt"]], "info")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "train/wasps").mkdir(), "no images in class folder wasps"),
        (lambda root: (root / "val/ants").rename(root / "val/Ants"), "unknown class Ants"),
        (lambda root: (root / "valid").mkdir(), "both mean val"),
    ],
)
def test_folders_that_are_wrong_are_an_error_of_the_layout(ftcli: Ftcli, root: Path, damage: Any, words: str) -> None:
    damage(root)
    outcome = ftcli("check", root, "--json", code=3)
    (finding,) = outcome.json["findings"]
    assert (finding["code"], finding["level"]) == ("layout", "error")
    assert words in finding["message"]
    assert outcome.json["contents"] is None
    assert words in " ".join(ftcli("check", root, code=3).out.split())


def test_a_class_without_a_good_image_is_an_error_in_addition_to_the_images(ftcli: Ftcli, root: Path) -> None:
    for path in (root / "train/bees").iterdir():
        path.write_bytes(b"")
    found = findings_of(ftcli("check", root, "--json", code=3))
    assert len(found["bad-image"][0]["cases"]) == 12
    words = f"Without the bad images: {root / 'train'}: no images in class folder bees"
    assert found["layout"][0]["message"].startswith(words)
    assert "Class bees has no usable image" in found["imbalance"][0]["message"]


def test_a_split_without_a_single_good_image_is_named(ftcli: Ftcli, root: Path) -> None:
    for path in root.glob("val/*/*"):
        path.write_bytes(b"")
    found = findings_of(ftcli("check", root, "--json", code=3))
    words = f"Without the bad images: {root / 'val'}: no images in class folders were found"
    assert found["layout"][0]["message"].startswith(words)


def test_small_classes_are_counted_as_classes_in_however_many_splits(ftcli: Ftcli, root: Path) -> None:
    for path in [*root.glob("val/bees/0[1-9].png"), *root.glob("train/bees/0[3-9].png")]:
        path.unlink()
    (found,) = findings_of(ftcli("check", root, "--json"))["small-class"]
    assert [case["note"] for case in found["cases"]] == ["bees: 5 in train", "bees: 1 in val"]
    assert found["message"].startswith("1 class has fewer than 10 images in a split")
    cut = findings_of(ftcli("check", root / "train", "--json"))["small-class"][0]
    assert cut["message"].startswith("2 classes have fewer than 10 images in a split")
    assert cut["advice"] == "Add images.", "a larger share would take them from a class of five"


def test_a_larger_share_for_val_is_advised_where_every_class_has_enough(ftcli: Ftcli, root: Path) -> None:
    for label in ("ants", "bees"):
        for number in range(28):
            noise(60, 50, seed=[number, ord(label[0])]).save(root / f"train/{label}/more{number:02}.png")
    found = findings_of(ftcli("check", root / "train", "--json"))["small-class"][0]
    assert [case["note"] for case in found["cases"]] == ["ants: 8 in val", "bees: 8 in val"]
    assert "raise data.val_fraction" in found["advice"]


def test_classes_that_differ_in_case_or_unicode_form_are_reported(ftcli: Ftcli, root: Path) -> None:
    for split in ("train", "val"):
        (root / split / "ants").rename(root / split / "caf\u00e9")
        for number, name in enumerate(("cafe\u0301", "Bees", "m2", "m\u00b2")):
            for image in range(10):
                path = root / split / name / f"{image}.png"
                path.parent.mkdir(exist_ok=True)
                noise(100, 80, seed=[image, number, 7, len(split)]).save(path)
    (found,) = findings_of(ftcli("check", root, "--json"))["alike-classes"]
    assert (found["level"], [case["note"] for case in found["cases"]]) == (
        "warning",
        ["'Bees' and 'bees'", r"'cafe\u0301' and 'caf\xe9'"],
    )
    assert found["message"].startswith("2 sets of classes have names that differ only in case")


def test_clusters_in_two_splits_are_an_error(ftcli: Ftcli, root: Path) -> None:
    found = findings_of(ftcli("check", root, "--json", "--group-by", "^([0-9]+)", code=3))
    assert len(found["group-leak"][0]["cases"]) == 10
    case = found["group-leak"][0]["cases"][0]
    assert (case["note"], case["splits"]) == ("group 00", ["train", "train", "val", "val"])
    shown = ftcli("check", root, "--group-by", "^([0-9]+)", code=3).out
    assert "group 00: train (train/ants/00.png and 1 more), val (val/ants/00.png and 1 more)" in shown
    unmatched = findings_of(ftcli("check", root, "--json", "--group-by", "^(patient)", code=3))
    assert "finds no group in train/ants/00.png" in unmatched["layout"][0]["message"]


def test_copies_in_one_folder_do_not_leak_into_the_val_that_is_cut_from_it(ftcli: Ftcli, root: Path) -> None:
    folder = root / "train"
    for path in sorted((folder / "ants").iterdir()):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    for grouped in ([], ["--group-by", "(.)[.]png$"]):
        found = findings_of(ftcli("check", folder, "--json", "--val-fraction", 0.5, *grouped))
        assert "leak" not in found
        assert sum(len(each["cases"]) for each in found["duplicate"]) == 12


def test_a_class_that_is_one_image_many_times_cannot_be_cut(ftcli: Ftcli, root: Path) -> None:
    for path in sorted((root / "train/ants").iterdir()):
        shutil.copy(root / "train/ants/00.png", path) if path.name != "00.png" else None
    finding = findings_of(ftcli("check", root / "train", "--json", code=3))["layout"][0]
    assert "all images of class 'ants' are alike, such as ants/00.png" in finding["message"]
    assert "bad images" not in finding["message"]


def test_a_recipe_says_what_its_dataset_is(ftcli: Ftcli, root: Path) -> None:
    (root / "val/ants/00.png").write_bytes(b"")
    recipe = Path("recipe.yaml")
    recipe.write_text(f"data: {{root: {root}, on_bad_image: skip}}\n")
    (finding,) = findings_of(ftcli("check", recipe, "--json"))["bad-image"]
    assert finding["level"] == "warning"
    assert "the recipe skips them" in finding["message"]
    recipe.write_text(f"data: {{root: {root}, group_by: '^([0-9]+)'}}\n")
    assert "group-leak" in findings_of(ftcli("check", recipe, "--json", code=3))
    assert "group_by" in ftcli("check", recipe, "--group-by", "(a)", code=2).err


def test_a_missing_folder_or_a_wrong_pattern_is_an_error_without_a_report(ftcli: Ftcli, root: Path) -> None:
    assert "no such folder" in ftcli("check", "nowhere", code=3).err
    assert "needs parentheses" in ftcli("check", root, "--group-by", "ants", code=2).err
    assert "below 1" in ftcli("check", root, "--val-fraction", 1.5, code=2).err


def test_train_warns_of_leaks_in_a_few_lines_and_writes_them_down(ftcli: Ftcli, root: Path) -> None:
    (root / "test").mkdir()
    shutil.copytree(root / "val/ants", root / "test/ants")
    shutil.copy(root / "train/ants/00.png", root / "test/ants/leak.png")
    shutil.copy(root / "train/ants/01.png", root / "val/bees/mistake.png")
    Path("recipe.yaml").write_text(
        f"data: {{root: {root}, image_size: 32, workers: 0}}\nmodel: {{name: timm/test_resnet, weights: none}}\n"
        "epochs: 1\n"
    )
    err = ftcli("train", "recipe.yaml", "--name", "a", "--quiet").err
    assert "warning: 1 image has more than one label. First: train/ants/01.png = val/bees/mistake.png." in err
    assert "is in train and in test" in err
    assert len(err.splitlines()) <= 6
    found = json.loads(Path("runs/a/dataset.json").read_text())["findings"]
    assert {finding["code"] for finding in found} >= {"label-conflict", "leak"}
    (case,) = found[0]["cases"]
    assert case == {"files": ["train/ants/01.png", "val/bees/mistake.png"], "note": "ants and bees", "splits": []}
    page = Path("runs/a/report.html").read_text()
    start, _, data = page.partition('<section id="data"')
    assert "1 image has more than one label." in start
    assert page.count("is in train and in test") == 2, "first of all and with the data, not among the notices too"
    levels = re.findall("<strong.*?>(error|warning|info)</strong>", data)
    assert levels == [finding["level"] for finding in with_gravest_first(found)]
    assert '<li class="path">train/ants/01.png = val/bees/mistake.png: ants and bees</li>' in data


def with_gravest_first(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(findings, key=lambda finding: ["error", "warning", "info"].index(finding["level"]))


def test_the_built_in_digits_have_no_errors(ftcli: Ftcli) -> None:
    outcome = ftcli("check", "digits", "--json")
    assert outcome.json["errors"] == 0
    assert set(findings_of(outcome)) == {"not-compared"}


@pytest.mark.parametrize("name", ["val", "valid"])
def test_a_val_fraction_with_a_val_folder_is_wrong_usage(ftcli: Ftcli, root: Path, name: str) -> None:
    if name != "val":
        (root / "val").rename(root / name)
    outcome = ftcli("check", root, "--val-fraction", "0.3", code=2)
    assert f"{root}: there is a {name}/ folder, so --val-fraction would be ignored" in outcome.err
    assert "Leave --val-fraction out" in outcome.err
    assert outcome.out == ""
