from __future__ import annotations

import os
import sys

import pytest

from ftcli.data.dataset import open_dataset, open_scored_folder
from ftcli.errors import DatasetError


def names(samples):
    return [sample.name for sample in samples]


def numbered(folder, count):
    return [f"{folder}/{number:02d}.jpg" for number in range(count)]


def test_train_and_val_folders_are_splits_with_the_classes_of_train(touch):
    root = touch("train/bees/2.jpg", "train/ants/1.JPG", "val/bees/3.png", "val/ants/4.webp")
    dataset = open_dataset(root)
    assert dataset.classes == ("ants", "bees")
    assert names(dataset.splits["train"]) == ["train/ants/1.JPG", "train/bees/2.jpg"]
    assert [sample.label for sample in dataset.splits["val"]] == [0, 1]
    assert dataset.splits["val"][0].path == root / "val/ants/4.webp"
    assert set(dataset.splits) == {"train", "val"}
    assert dataset.val_fraction is None


@pytest.mark.parametrize("folder", ["valid", "validation"])
def test_val_may_be_called_otherwise(touch, folder):
    root = touch("train/a/1.jpg", "train/b/1.jpg", f"{folder}/a/2.jpg", "test/b/3.jpg")
    dataset = open_dataset(root)
    assert names(dataset.splits["val"]) == [f"{folder}/a/2.jpg"]
    assert names(dataset.splits["test"]) == ["test/b/3.jpg"]
    assert dataset.splits["test"][0].label == 1


def test_two_val_folders_are_an_error(touch):
    with pytest.raises(DatasetError, match="val/ and valid/ both mean val"):
        open_dataset(touch("train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "valid/a/2.jpg"))


def test_a_val_fraction_with_a_val_folder_is_an_error(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg")
    with pytest.raises(DatasetError, match=r"data\.val_fraction"):
        open_dataset(root, val_fraction=0.3)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_val_a_share_of_every_class_becomes_val(touch, prefix):
    root = touch(*numbered(f"{prefix}a", 10), *numbered(f"{prefix}b", 21))
    dataset = open_dataset(root, val_fraction=0.3)
    train, val = dataset.splits["train"], dataset.splits["val"]
    assert [sum(sample.label == label for sample in val) for label in (0, 1)] == [3, 6]
    assert not set(train) & set(val)
    assert len(train) + len(val) == 31
    assert names(train) == sorted(names(train))
    assert dataset.val_fraction == 0.3


def test_the_default_fraction_is_used_and_reported(touch):
    dataset = open_dataset(touch(*numbered("a", 10), *numbered("b", 10)))
    assert dataset.val_fraction == 0.2
    assert len(dataset.splits["val"]) == 4


def test_train_and_test_without_val_keeps_test_out_of_the_cut(touch):
    root = touch(*numbered("train/a", 10), *numbered("train/b", 10), *numbered("test/a", 5))
    splits = open_dataset(root).splits
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 16, "val": 4, "test": 5}
    assert all(sample.name.startswith("train/") for sample in splits["val"])


def test_the_cut_does_not_depend_on_other_classes_or_on_where_the_root_is(touch):
    flat = open_dataset(touch(*numbered("one/a", 20), *numbered("one/b", 5)) / "one")
    split = open_dataset(touch(*numbered("two/train/a", 20), *numbered("two/train/c", 9)) / "two")
    chosen = [
        {sample.path.name for sample in dataset.splits["val"] if sample.path.parent.name == "a"}
        for dataset in (flat, split)
    ]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 4


def test_even_tiny_classes_are_in_train_and_in_val(touch):
    root = touch(*numbered("a", 2), *numbered("b", 2))
    for fraction in (0.01, 0.99):
        splits = open_dataset(root, val_fraction=fraction).splits
        assert [sample.label for sample in splits["train"]] == [0, 1]
        assert [sample.label for sample in splits["val"]] == [0, 1]


def test_a_class_with_a_single_image_cannot_be_cut_and_is_named(touch):
    with pytest.raises(DatasetError, match=r"'rare' has a single image, rare/00\.jpg"):
        open_dataset(touch(*numbered("a", 5), *numbered("rare", 1)))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_an_error(touch, fraction):
    with pytest.raises(DatasetError, match="val_fraction"):
        open_dataset(touch("a/1.jpg", "b/1.jpg"), val_fraction=fraction)


def test_class_names_stay_text_and_are_sorted_by_their_bytes(touch):
    folders = ("no", "007", "Zebra", "ärger", "zebra", "1e3", "true", "emoji 🐝")
    dataset = open_dataset(touch(*(image for folder in folders for image in numbered(folder, 2))))
    assert dataset.classes == ("007", "1e3", "Zebra", "emoji 🐝", "no", "true", "zebra", "ärger")


def test_an_empty_class_folder_in_train_is_an_error_that_names_it(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "train/hollow/readme.txt", "val/a/1.jpg")
    with pytest.raises(DatasetError, match="no images in class folder hollow"):
        open_dataset(root)


def test_a_class_that_train_lacks_is_an_error_with_the_near_match(touch):
    root = touch("train/ants/1.jpg", "train/bees/1.jpg", "val/Ants/2.jpg")
    with pytest.raises(DatasetError, match=r"unknown class Ants \(did you mean 'ants'\?\)") as caught:
        open_dataset(root)
    assert caught.value.where == str(root / "val")


def test_a_class_in_another_unicode_form_is_unknown_and_explained(touch):
    root = touch("train/ants/1.jpg", "train/caf\u00e9/1.jpg", "val/cafe\u0301/2.jpg")
    with pytest.raises(DatasetError, match=r"\('cafe\\u0301', where train has 'caf\\xe9': the same letters"):
        open_dataset(root)


def test_test_must_not_add_a_class_either(touch):
    with pytest.raises(DatasetError, match="unknown class wasps"):
        open_dataset(touch("train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "test/wasps/2.jpg"))


def test_another_split_may_lack_a_class_without_moving_labels(touch):
    dataset = open_dataset(touch("train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/c/2.jpg"))
    assert [sample.label for sample in dataset.splits["val"]] == [2]


def test_a_test_folder_without_labelled_images_is_not_a_split(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "test/0001.jpg")
    dataset = open_dataset(root)
    assert "test" not in dataset.splits
    assert root / "test/0001.jpg" in dataset.unlabelled


def test_a_val_folder_without_images_is_an_error(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "val/notes.txt")
    with pytest.raises(DatasetError, match="no images in class folders"):
        open_dataset(root)


def test_files_outside_the_classes_are_listed_and_hidden_ones_ignored(touch):
    root = touch(
        "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg",
        "readme.md", "extra/1.jpg", "train/loose.jpg", "train/a/imageNotFound.gif", "val/a/notes.txt",
        ".git/x.jpg", "train/.cache/1.jpg", "train/a/.DS_Store", "train/a/._1.jpg", "__MACOSX/a/1.jpg",
        "train/a/Thumbs.db", "train/b/desktop.ini",
    )  # fmt: skip
    dataset = open_dataset(root)
    assert {path.relative_to(root).as_posix() for path in dataset.unlabelled} == {
        "readme.md", "extra", "train/loose.jpg", "train/a/imageNotFound.gif", "val/a/notes.txt",
    }  # fmt: skip
    assert dataset.classes == ("a", "b")
    assert len(dataset.splits["train"]) == 2


def test_images_in_deeper_folders_belong_to_the_class(touch):
    root = touch("train/a/2.jpg", "train/a/sub/1.jpg", "train/a/10.jpg", "train/b/x/y/1.jpg", "val/a/1.jpg")
    assert names(open_dataset(root).splits["train"]) == [
        "train/a/10.jpg", "train/a/2.jpg", "train/a/sub/1.jpg", "train/b/x/y/1.jpg",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_loop_of_links_ends_and_linked_folders_count(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "elsewhere/9.jpg")
    (root / "train/a/loop").symlink_to(root / "train")
    (root / "train/b/linked").symlink_to(root / "elsewhere")
    train = names(open_dataset(root).splits["train"])
    assert "train/b/linked/9.jpg" in train
    assert len(train) < 12


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_to_a_folder_above_the_class_brings_no_other_class_into_it(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg")
    (root / "train/b/up").symlink_to(root / "train")
    (root / "elsewhere").mkdir()
    (root / "elsewhere/linked").symlink_to(root)
    assert names(open_dataset(root).splits["train"]) == ["train/a/1.jpg", "train/b/1.jpg"]
    behind_a_link = open_dataset(root / "elsewhere/linked")
    assert names(behind_a_link.splits["train"]) == ["train/a/1.jpg", "train/b/1.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_to_itself_stays_a_sample_so_that_it_is_reported_later(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg")
    (root / "train/a/loop.jpg").symlink_to(root / "train/a/loop.jpg")
    (root / "train/a/loop").symlink_to(root / "train/a/loop")
    dataset = open_dataset(root)
    assert "train/a/loop.jpg" in names(dataset.splits["train"])
    assert root / "train/a/loop" in dataset.unlabelled


def test_a_broken_link_to_an_image_stays_a_sample_so_that_it_is_reported_later(touch):
    root = touch("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg")
    (root / "train/a/2.jpg").symlink_to(root / "gone.jpg")
    assert "train/a/2.jpg" in names(open_dataset(root).splits["train"])


def test_a_root_that_is_missing_or_a_file_is_an_error(touch):
    root = touch("file.jpg")
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(root / "absent")
    with pytest.raises(DatasetError, match="this is a file"):
        open_dataset(root / "file.jpg")


@pytest.mark.parametrize("files", [(), ("loose.jpg",), ("a/notes.txt", "b/notes.txt"), ("train/loose.jpg",)])
def test_a_root_without_images_in_class_folders_is_an_error_that_shows_the_layout(touch, files):
    with pytest.raises(DatasetError, match=r"train/ants/1\.jpg"):
        open_dataset(touch(*files))


def test_a_single_class_is_an_error(touch):
    with pytest.raises(DatasetError, match="only one class, 'ants'"):
        open_dataset(touch(*numbered("ants", 4)))


def test_a_root_one_level_too_high_is_an_error_that_suggests_the_right_one(touch):
    root = touch("hymenoptera/train/a/1.jpg", "hymenoptera/train/b/1.jpg", "hymenoptera/val/b/1.jpg")
    with pytest.raises(DatasetError, match=r"Did you mean .*hymenoptera\?"):
        open_dataset(root)


@pytest.mark.parametrize("folders", [("Train", "Val"), ("training", "validation"), ("val", "test"), ("Train",)])
def test_misnamed_splits_are_not_taken_for_classes(touch, folders):
    root = touch(*(f"{folder}/{name}/1.jpg" for folder in folders for name in "ab"))
    with pytest.raises(DatasetError, match="splits, or classes"):
        open_dataset(root)


def test_a_class_may_be_called_valid(touch):
    assert open_dataset(touch(*numbered("valid", 3), *numbered("invalid", 3))).classes == ("invalid", "valid")


def test_a_dataset_opens_by_listing_folders_without_a_call_for_each_file(touch, monkeypatch):
    """Tens of thousands of files on a network drive must not be asked for one by one."""
    root = touch(*(f"train/{label}/{number}.png" for label in range(10) for number in range(200)))
    listed, asked = [], []
    scandir, stat = os.scandir, os.stat
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(path), scandir(path))[1])
    monkeypatch.setattr(os, "stat", lambda path, **options: (asked.append(path), stat(path, **options))[1])
    dataset = open_dataset(root)
    assert len(dataset.splits["val"]) == 400
    assert len(listed) <= 2 * 12, "the root, train/ and the ten classes, some of them twice"
    assert len([path for path in asked if str(path).endswith(".png")]) == 0


def test_ants_and_bees_open_with_their_stray_file(hymenoptera):
    dataset = open_dataset(hymenoptera)
    assert dataset.classes == ("ants", "bees")
    assert {name: len(samples) for name, samples in dataset.splits.items()} == {"train": 244, "val": 153}
    assert [path.name for path in dataset.unlabelled] == ["imageNotFound.gif"]


def test_a_scored_folder_of_classes_is_labelled_by_name(touch):
    samples = open_scored_folder(touch("bees/1.jpg", "ants/2.jpg"), classes=("wasps", "bees", "ants"))
    assert [(sample.name, sample.label) for sample in samples] == [("bees/1.jpg", 1), ("ants/2.jpg", 2)]


def test_a_scored_root_gives_val_then_test_or_the_split_that_is_named(touch):
    root = touch("train/a/1.jpg", "valid/a/2.jpg", "test/b/3.jpg")
    assert names(open_scored_folder(root, classes="ab")) == ["valid/a/2.jpg"]
    assert names(open_scored_folder(root, classes="ab", split="val")) == ["valid/a/2.jpg"]
    assert names(open_scored_folder(root, classes="ab", split="test")) == ["test/b/3.jpg"]
    assert names(open_scored_folder(root, classes="ab", split="train")) == ["train/a/1.jpg"]
    other = touch("other/train/a/1.jpg", "other/test/b/3.jpg") / "other"
    assert names(open_scored_folder(other, classes="ab")) == ["test/b/3.jpg"]


def test_a_missing_split_is_an_error_that_lists_those_that_exist(touch):
    root = touch("train/a/1.jpg")
    with pytest.raises(DatasetError, match="splits that exist: train"):
        open_scored_folder(root, classes="ab")
    with pytest.raises(DatasetError, match="no split 'test'"):
        open_scored_folder(root, classes="ab", split="test")


def test_a_split_of_a_folder_of_classes_is_an_error(touch):
    with pytest.raises(DatasetError, match="no split 'val'"):
        open_scored_folder(touch("a/1.jpg"), classes="ab", split="val")


def test_a_scored_class_that_the_checkpoint_lacks_is_an_error(touch):
    with pytest.raises(DatasetError, match=r"unknown class beez .*'bees'"):
        open_scored_folder(touch("beez/1.jpg"), classes=("ants", "bees"))


def test_a_class_named_like_a_split_is_a_class_when_the_checkpoint_knows_it(touch):
    samples = open_scored_folder(touch("valid/1.jpg", "invalid/2.jpg"), classes=("invalid", "valid"))
    assert [sample.label for sample in samples] == [0, 1]


def test_a_scored_folder_without_images_is_an_error(touch):
    with pytest.raises(DatasetError, match="no images"):
        open_scored_folder(touch("loose.jpg"), classes="ab")
