"""The cut of val out of train, and the clusters that stay whole in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from ftcli.data.class_folders import ClassFolders, Tree
from ftcli.data.dataset import open_dataset
from ftcli.data.val_split import clusters_in_several_splits, cut_val, refuse_clusters_in_several_splits
from ftcli.errors import DatasetError

CLASSES = ("a", "b", "c")

# How many images each cluster has of each class.
cluster_counts = st.lists(st.tuples(*[st.integers(0, 6)] * len(CLASSES)), min_size=2, max_size=25)


def folders_of(counts):
    images = {
        name: tuple(
            sorted(f"g{cluster}_{n}.png" for cluster, images in enumerate(counts) for n in range(images[label]))
        )
        for label, name in enumerate(CLASSES)
    }
    trees = {name: Tree(names, ()) for name, names in images.items()}
    return ClassFolders(Path("root"), "", trees, (), re.compile("^(g[0-9]+)_"))


@given(cluster_counts, st.floats(0.05, 0.95))
def test_clusters_stay_whole_and_every_class_is_in_both_splits(counts, fraction):
    folders = folders_of(counts)
    assume(all(folders.trees[name].images for name in CLASSES))
    try:
        train, val = cut_val(folders, CLASSES, fraction=fraction)
    except DatasetError:
        reject()  # no cut gives every class to both; too many of these fail the test
    assert not {sample.cluster for sample in train} & {sample.cluster for sample in val}
    assert len({sample.name for sample in (*train, *val)}) == sum(map(sum, counts))
    assert {sample.label for sample in train} == {sample.label for sample in val} == {0, 1, 2}


@given(st.integers(8, 60), st.floats(0.1, 0.9))
def test_clusters_of_one_image_are_cut_to_the_exact_share(images, fraction):
    folders = folders_of([(1, 0, 0)] * images + [(0, 1, 0)] * images + [(0, 0, 1)] * images)
    _, val = cut_val(folders, CLASSES, fraction=fraction)
    assert len(val) == 3 * min(max(round(images * fraction), 1), images - 1)


PATIENT = "^(p[0-9]+)_"


def scans(folder, patients):
    """Name the scans of patients: each with as many as its number says."""
    return [f"{folder}/p{patient}_{scan}.png" for patient, count in patients.items() for scan in range(count)]


def clusters(dataset, split):
    return {sample.cluster for sample in dataset.splits[split]}


def images(dataset, split):
    return {sample.name for sample in dataset.splits[split]}


def test_a_cluster_is_whole_in_one_split_across_classes(touch):
    scans_of = np.random.default_rng(0).integers(1, 10, 70).tolist()
    sick = {patient: scans_of[patient] for patient in range(40)}
    well = {patient: scans_of[-patient] for patient in range(20, 70)}
    dataset = open_dataset(touch(*scans("sick", sick), *scans("well", well)), group_by=PATIENT, val_fraction=0.25)
    assert not clusters(dataset, "train") & clusters(dataset, "val")
    assert clusters(dataset, "train") | clusters(dataset, "val") == {f"p{patient}" for patient in range(70)}
    for label, total in enumerate((sum(sick.values()), sum(well.values()))):
        share = sum(sample.label == label for sample in dataset.splits["val"]) / total
        assert share == pytest.approx(0.25, abs=0.03), "still stratified"


def test_clusters_are_chosen_by_their_names_wherever_the_folder_is(touch):
    files = [*scans("a", dict.fromkeys(range(20), 2)), *scans("b", dict.fromkeys(range(20, 40), 3))]
    root = touch(*(f"one/{file}" for file in files), *(f"two/train/{file}" for file in files))
    one = open_dataset(root / "one", group_by=PATIENT)
    two = open_dataset(root / "two", group_by=PATIENT)
    assert clusters(one, "val") == clusters(two, "val")
    assert images(one, "val") == {name.removeprefix("train/") for name in images(two, "val")}


def test_images_keep_their_order_in_both_splits(touch):
    dataset = open_dataset(
        touch(*scans("a", dict.fromkeys(range(9), 2)), *scans("b", dict.fromkeys(range(9), 1))), group_by=PATIENT
    )
    for samples in dataset.splits.values():
        assert [sample.name for sample in samples] == sorted(sample.name for sample in samples)


def test_a_class_of_large_clusters_still_reaches_val(touch):
    dataset = open_dataset(
        touch(*scans("rare", {1: 30, 2: 30}), *scans("usual", dict.fromkeys(range(10, 90), 1))),
        group_by=PATIENT,
        val_fraction=0.1,
    )
    assert {sample.label for sample in dataset.splits["val"]} == {0, 1}
    assert {sample.label for sample in dataset.splits["train"]} == {0, 1}


def test_a_class_of_one_cluster_cannot_be_cut_and_is_named(touch):
    root = touch(*scans("rare", {1: 30}), *scans("usual", dict.fromkeys(range(10, 90), 1)))
    with pytest.raises(DatasetError, match="all images of class 'rare' are in group 'p1'"):
        open_dataset(root, group_by=PATIENT)


def test_classes_that_share_all_their_clusters_crosswise_cannot_be_cut(touch):
    files = [*scans("a", {1: 1, 2: 1}), *scans("b", {2: 1, 3: 1}), *scans("c", {3: 1, 1: 1})]
    with pytest.raises(DatasetError, match="no group with class"):
        open_dataset(touch(*files), group_by=PATIENT)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^(p[0-9]+)_", {"p1", "p2"}),
        ("^([a-z])(?P<group>[0-9])_", {"1", "2"}),
        ("(?:^|/)p([0-9])", {"1", "2"}),
    ],
)
def test_a_cluster_is_named_by_the_named_parentheses_or_the_first(touch, pattern, expected):
    files = ["a/p1_x.png", "a/deep/p2_y.png", "b/p1_z.png", "b/p2_w.png"]
    root = touch(*files)
    if pattern.startswith("^"):
        (root / "a/deep/p2_y.png").rename(root / "a/p2_y.png")
    dataset = open_dataset(root, group_by=pattern, val_fraction=0.5)
    assert clusters(dataset, "train") | clusters(dataset, "val") == expected


def test_files_without_a_cluster_are_an_error_that_names_them_and_the_pattern(touch):
    root = touch(*scans("a", {1: 2, 2: 2}), *scans("b", {3: 1, 4: 1}), *(f"b/other{n}.png" for n in range(7)))
    with pytest.raises(DatasetError, match=r"finds no group in b/other0\.png, .*other4\.png and 2 more") as caught:
        open_dataset(root, group_by=PATIENT)
    assert "path within the class folder" in str(caught.value)


@pytest.mark.parametrize("pattern", ["^(p[0-9]+)?", "(q*)"])
def test_an_empty_match_is_not_a_cluster(touch, pattern):
    root = touch("a/1.png", "a/2.png", "b/3.png", "b/4.png")
    with pytest.raises(DatasetError, match="finds no group"):
        open_dataset(root, group_by=pattern)


def test_a_cluster_in_two_given_splits_is_found_with_its_images(touch):
    root = touch(
        *scans("train/a", {1: 2, 2: 1}), *scans("train/b", {3: 1}), *scans("val/b", {1: 1}), *scans("test/a", {3: 1})
    )
    dataset = open_dataset(root, group_by=PATIENT)
    found = clusters_in_several_splits(dataset.splits)
    assert list(found) == ["p1", "p3"]
    assert found["p1"] == {"train": ["train/a/p1_0.png", "train/a/p1_1.png"], "val": ["val/b/p1_0.png"]}
    assert set(found["p3"]) == {"train", "test"}
    with pytest.raises(DatasetError, match=r"2 groups (.|\n)*p1: train \(train/a/p1_0\.png\), val"):
        refuse_clusters_in_several_splits(dataset.splits, where="here")


def test_without_group_by_there_are_no_clusters(touch):
    dataset = open_dataset(touch("train/a/p1_1.png", "train/b/p1_2.png", "val/a/p1_3.png"))
    assert clusters_in_several_splits(dataset.splits) == {}


def test_images_left_out_are_treated_as_missing(touch):
    names = [f"{label}/{number:02}.png" for label in "ab" for number in range(12)]
    bad = {"a/03.png", "a/07.png", "b/00.png"}
    without = open_dataset(touch(*(f"without/{name}" for name in names if name not in bad)) / "without")
    left_out = open_dataset(touch(*(f"whole/{name}" for name in names)) / "whole", left_out=bad)
    for split in ("train", "val"):
        assert images(left_out, split) == images(without, split)


def test_without_copies_the_cut_is_that_of_every_earlier_version(touch):
    dataset = open_dataset(touch(*(f"{label}/{number:02}.png" for label in "ab" for number in range(15))))
    assert sorted(images(dataset, "val")) == ["a/02.png", "a/03.png", "a/06.png", "b/02.png", "b/03.png", "b/06.png"]


@settings(max_examples=30)
@given(cluster_counts, st.floats(0.05, 0.95), st.randoms(use_true_random=False), st.booleans())
def test_alike_images_are_never_parted_whether_in_clusters_or_not(counts, fraction, random, clustered):
    folders = folders_of(counts)
    assume(all(len(folders.trees[name].images) > 1 for name in CLASSES))
    folders = folders if clustered else replace(folders, group_by=None)
    names = [f"{name}/{image}" for name in CLASSES for image in folders.trees[name].images]
    alike = {name: str(random.randrange(40)) for name in random.sample(names, len(names) // 2)}
    try:
        train, val = cut_val(folders, CLASSES, fraction=fraction, alike=alike)
    except DatasetError:
        reject()
    assert sorted(sample.name for sample in (*train, *val)) == sorted(names)
    assert {sample.label for sample in train} == {sample.label for sample in val} == {0, 1, 2}
    sides = [{alike[sample.name] for sample in side if sample.name in alike} for side in (train, val)]
    assert not sides[0] & sides[1]
    if clustered:
        assert not {sample.cluster for sample in train} & {sample.cluster for sample in val}


def test_copies_move_together_and_leave_other_classes_as_they_were(touch):
    root = touch(*(f"{label}/{number:02}.png" for label in "ab" for number in range(15)))
    before = open_dataset(root)
    alike = dict.fromkeys(["a/00.png", "a/01.png", "a/02.png"], "same")
    after = open_dataset(root, alike=alike)
    assert {name for name in images(after, "val") if name[0] == "b"} == {
        name for name in images(before, "val") if name[0] == "b"
    }
    assert len(images(after, "val")) == len(images(before, "val"))


@pytest.mark.parametrize(
    ("alike", "words"),
    [
        (("a/1.png", "a/2.png"), "all images of class 'a' are alike, such as a/1.png"),
        (("a/1.png", "b/1.png", "b/2.png", "a/2.png"), "all images of class 'a' are alike"),
    ],
)
def test_a_class_whose_images_are_all_alike_cannot_be_in_both(touch, alike, words):
    root = touch("a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png")
    with pytest.raises(DatasetError, match=words):
        open_dataset(root, alike=dict.fromkeys(alike, "same"))
