from pathlib import Path

import pytest
from helpers.hostile import noise


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve different pictures of each of two classes in train, ten in val: nothing is wrong with them."""
    for split, count in (("train", 12), ("val", 10)):
        for label in ("ants", "bees"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                seed = [number, len(split), len(label) + (label == "bees")]
                noise(100, 80, seed=seed).save(folder / f"{number:02}.png")
    return tmp_path / "data"
