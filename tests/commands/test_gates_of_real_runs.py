"""Runs on real photographs, compared through the command line: of another seed, and of shuffled labels."""

import shutil
from pathlib import Path

import pytest
from helpers.support import Ftcli

PHOTOS = 20


@pytest.fixture
def photos(hymenoptera: Path, tmp_path: Path) -> Path:
    """A root with a few photographs of each class, and one where every second label of train is another."""
    for split in ("train", "val"):
        for label, other in (("ants", "bees"), ("bees", "ants")):
            for number, photo in enumerate(sorted((hymenoptera / split / label).glob("*.jpg"))[:PHOTOS]):
                given = other if split == "train" and number % 2 else label
                for root, folder in (("right", label), ("shuffled", given)):
                    (tmp_path / root / split / folder).mkdir(parents=True, exist_ok=True)
                    shutil.copy(photo, tmp_path / root / split / folder)
    return tmp_path


def test_another_seed_passes_the_gate_and_shuffled_labels_do_not(ftcli: Ftcli, photos: Path) -> None:
    for name, root, seed in (("a", "right", 0), ("b", "right", 1), ("shuffled", "shuffled", 0)):
        Path("recipe.yaml").write_text(f"data: {{root: {photos}/{root}, views: 1}}\nepochs: 5\nseed: {seed}\n")
        ftcli("train", "recipe.yaml", "--name", name)
    held = ftcli("compare", "runs/a", "runs/b", "--fail-if", "worse", "--json").json
    assert held["recipe_changes"] == {"seed": {"a": 0, "b": 1}}
    assert held["same_training_images"] is True
    assert held["groups"][0]["seeds"] == [0, 1]
    assert [gate["holds"] for gate in held["gates"]] == [True]
    failed = ftcli("compare", "runs/a", "runs/shuffled", "--fail-if", "worse", "--json", code=4).json
    assert failed["same_training_images"] is False
    assert len(failed["groups"]) == 2
    assert [gate["holds"] for gate in failed["gates"]] == [False]
