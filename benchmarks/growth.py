"""The part `growth`: the cost of more photographs and more epochs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ftcli_runs import cold_and_warm, recipe_text
from loop_costs import Loop, measure
from settings import Settings

MODEL = "efficientnet_lite0"
FACTORS = (1, 4, 16)
EPOCHS = (1, 3, 10)
MOST_WORK = 16
"""Cells with a larger factor times epochs need --grid: they take minutes each."""

_START_OF_IMAGE, _COMMENT = b"\xff\xd8", b"\xff\xfe"


def growth(settings: Settings) -> list[dict[str, Any]]:
    """Time feature-extract, cold and warm, on 1, 4 and 16 times the photographs and over 1, 3 and 10 epochs."""
    loop = measure(Loop(MODEL, "1"), settings)
    rows = []
    for factor in FACTORS:
        with tempfile.TemporaryDirectory(prefix="ftcli-bench-") as folder:
            images = multiply(settings.root, Path(folder, "photographs"), factor)
            for epochs in settings.epochs or EPOCHS:
                if factor * epochs > MOST_WORK and not settings.grid:
                    continue
                recipe = recipe_text("head", MODEL, epochs=epochs, root=Path(folder, "photographs"))
                ours = cold_and_warm(recipe, settings.repeats or 1)
                rows.append({"factor": factor, "images": images, "epochs": epochs, **ours, "loop": loop})
    return rows


def multiply(root: Path, target: Path, factor: int) -> int:
    """Write `factor` copies of each JPEG file, each with a different comment; return the number of files.

    The bytes and so the hashes differ, and decoding costs the same to the last coefficient.
    """
    count = 0
    for split in ("train", "val"):
        for source in sorted((root / split).glob("*/*.jpg")):
            content = source.read_bytes()
            assert content.startswith(_START_OF_IMAGE), f"{source} is no JPEG file"
            folder = target / split / source.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            for copy in range(factor):
                text = f"copy {copy}".encode()
                comment = _COMMENT + (len(text) + 2).to_bytes(2, "big") + text
                (folder / f"{source.stem}_{copy}.jpg").write_bytes(_START_OF_IMAGE + comment + content[2:])
                count += 1
    return count
