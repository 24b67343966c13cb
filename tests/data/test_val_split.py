from __future__ import annotations

import re
from pathlib import Path

from hypothesis import assume, given, reject
from hypothesis import strategies as st

from ftcli.data.class_folders import ClassFolders, Tree
from ftcli.data.val_split import cut_val
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
