"""The built-in dataset, written from the data of an installed library."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

DIGITS = "digits"

_SPLIT_OF_FIVE = ("train", "train", "train", "val", "test")


def digits_folder(data_dir: Path) -> Path:
    """Return the folder of scikit-learn's 1,797 handwritten digits (8 x 8, grey), writing it on first use.

    The split is 60/20/20 within each class. The folder appears whole or not at all, also if two processes write it.
    """
    folder = data_dir / DIGITS
    if folder.exists():
        return folder
    data_dir.mkdir(parents=True, exist_ok=True)
    unfinished = data_dir / f".{DIGITS}-{uuid.uuid4().hex}"
    try:
        write_digits(unfinished)
        unfinished.rename(folder)
    except OSError:
        # Another process was faster: a rename never replaces a folder that holds files.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def write_digits(folder: Path) -> None:
    """Write the digits as PNG files in class folders, split by split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    greys = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    seen = [0] * 10
    for number, (grey, label) in enumerate(zip(greys, digits.target.tolist(), strict=True)):
        split = _SPLIT_OF_FIVE[seen[label] % len(_SPLIT_OF_FIVE)]
        seen[label] += 1
        class_folder = folder / split / str(label)
        class_folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(class_folder / f"{number:04d}.png")
