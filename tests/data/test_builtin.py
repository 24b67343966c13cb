from __future__ import annotations

from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ftcli.data import builtin
from ftcli.data.builtin import digits_folder
from ftcli.data.dataset import open_dataset


def test_digits_are_a_dataset_with_three_stratified_splits(tmp_path):
    folder = digits_folder(tmp_path / "data")
    dataset = open_dataset(folder)
    assert folder == tmp_path / "data" / "digits"
    assert dataset.classes == tuple("0123456789")
    assert sum(map(len, dataset.splits.values())) == 1797
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        counts = np.bincount([sample.label for sample in dataset.splits[split]])
        assert counts / np.bincount(load_digits().target) == pytest.approx(share, abs=0.01)


def test_digits_keep_their_pixels(tmp_path):
    (path,) = digits_folder(tmp_path).rglob("0042.png")
    digits = load_digits()
    assert path.parent.name == str(digits.target[42])
    with Image.open(path) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), np.rint(digits.images[42] * 255 / 16))


def test_a_killed_writer_leaves_no_dataset_behind(tmp_path, monkeypatch):
    def write_half(folder):
        (folder / "train").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(builtin, "write_digits", write_half)
    with pytest.raises(KeyboardInterrupt):
        digits_folder(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_two_writers_at_once_both_succeed(tmp_path):
    with get_context("fork").Pool(2) as pool:
        folders = pool.map(digits_folder, [tmp_path / "data"] * 2, chunksize=1)
    assert folders == [tmp_path / "data" / "digits"] * 2
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["digits"]
    assert len(list(folders[0].rglob("*.png"))) == 1797


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "digits").mkdir()
    assert list(digits_folder(tmp_path).iterdir()) == []
