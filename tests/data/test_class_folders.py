from __future__ import annotations

from pathlib import Path

import pytest

from ftcli.data import class_folders as scanning
from ftcli.data.class_folders import ClassFolders, Tree, label_samples, walk
from ftcli.errors import DatasetError


def folders_that_link_to_each_other(root, count):
    """Make folders with a link to every other one: the ways through them are more than `count` factorial."""
    for number in range(count):
        folder = root / f"train/a/{number}"
        folder.mkdir(parents=True)
        (folder / "x.jpg").touch()
        for other in range(count):
            if other != number:
                (folder / f"to_{other}").symlink_to(root / f"train/a/{other}")
    return root / "train/a"


def test_links_that_multiply_are_an_error_and_not_followed_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "REPEATS_LIMIT", 500)  # instead of ten thousand, which take some seconds
    folder = folders_that_link_to_each_other(tmp_path, 12)
    with pytest.raises(DatasetError, match="links lead to the same folders again and again") as caught:
        walk(folder)
    assert caught.value.where == str(folder)


def test_a_few_links_to_each_other_are_followed_each_once_on_every_way(tmp_path):
    folder = folders_that_link_to_each_other(tmp_path, 3)
    ways = ["0/", "0/to_1/", "0/to_1/to_2/", "0/to_2/", "0/to_2/to_1/"]
    assert [name for name in walk(folder).images if name.startswith("0/")] == sorted(f"{way}x.jpg" for way in ways)


class Name(str):
    """A name that counts how often names are compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    compared = 0

    def __eq__(self, other):
        Name.compared += 1
        return str.__eq__(self, other)


def test_the_time_to_find_unknown_classes_grows_with_their_number_and_not_its_square():
    trees = {Name(number): Tree((f"{number}.jpg",), ()) for number in range(300)}
    classes = tuple(Name(number) for number in range(300))
    Name.compared = 0
    assert len(label_samples(ClassFolders(Path("root"), "", trees, ()), classes)) == 300
    assert Name.compared <= 5 * 300
