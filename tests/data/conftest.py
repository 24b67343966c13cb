"""Small image folders for the tests of ftcli.data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ftcli.data.class_folders import Sample


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Make files without content below one folder, and return it; for what never opens an image."""
    root = tmp_path / "root"
    root.mkdir()

    def make(*names: str) -> Path:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return root

    return make


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[int], list[Sample]]:
    """Write that many different smooth JPEG photos, 60 x 40 pixels, of two classes in turn."""
    folder = tmp_path / "photos"
    folder.mkdir()

    def make(count: int) -> list[Sample]:
        samples = []
        for number in range(count):
            noise = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
            path = folder / f"{number:03d}.jpg"
            Image.fromarray(noise).resize((60, 40), Image.Resampling.BICUBIC).save(path, quality=95)
            samples.append(Sample(path, path.name, number % 2))
        return samples

    return make


@pytest.fixture
def hymenoptera() -> Path:
    """Return the folder of ants and bees, or skip."""
    folder = os.environ.get("FTCLI_HYMENOPTERA")
    if not folder:
        pytest.skip("FTCLI_HYMENOPTERA does not name the folder of ants and bees")
    return Path(folder)
