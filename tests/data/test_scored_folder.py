from __future__ import annotations

import pytest

from ftcli.data.dataset import open_scored_folder
from ftcli.errors import DatasetError


def names(samples):
    return [sample.name for sample in samples]


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
