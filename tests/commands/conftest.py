import shutil
from pathlib import Path

import pytest
from helpers.hostile import noise
from helpers.launch import Launch


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


@pytest.fixture(scope="session")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small network on two classes that it learns, with its export as ONNX."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 5, workers: 0, views: 1}}\n"
        "model: {name: timm/test_resnet, weights: none}\nepochs: 4\nreport: false\n"
    )
    launch = Launch(folder)
    launch("train", recipe, "--runs", folder, "--name", "run", "--quiet")
    launch("export", folder / "run", "--quiet")
    return folder / "run"


@pytest.fixture
def exported(trained: Path, tmp_path: Path) -> Path:
    """A copy of that export, elsewhere."""
    return Path(shutil.copytree(trained / "export/onnx", tmp_path / "exported"))
