"""The part `decode`: from a photograph's bytes to the network's input, against PIL and torchvision."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from settings import Settings
from torch import Tensor
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from ftcli.data.decoding import decode
from ftcli.data.transforms import Transform, draw, evaluation_transform, training_transform
from ftcli.records import InputSpec

PHOTOGRAPHS = 60
LARGE_PHOTOGRAPHS = 8
LARGE_SIZE = (4000, 3000)
VIEWS = 8

_HALF = (0.5, 0.5, 0.5)
_SPEC = InputSpec(image_size=224, resize_size=256, interpolation="bilinear", mean=_HALF, std=_HALF)
"""Bilinear like the tutorials, so that both sides compute the same."""

_END = [transforms.ToTensor(), transforms.Normalize(_HALF, _HALF)]
_TUTORIAL_TRAINING = transforms.Compose(
    [transforms.RandomResizedCrop(224, scale=(0.35, 1.0)), transforms.RandomHorizontalFlip(), *_END]
)
_TUTORIAL_EVALUATION = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *_END])

Work = Callable[[Path], object]


def decode_part(settings: Settings) -> list[dict[str, Any]]:
    """Time one thread on small and on 12-megapixel photographs."""
    torch.set_num_threads(1)
    found = sorted((settings.root / "train").glob("*/*.jpg"))
    small = found[:: max(len(found) // PHOTOGRAPHS, 1)][:PHOTOGRAPHS]
    repeats = settings.repeats or 5
    with tempfile.TemporaryDirectory(prefix="ftcli-bench-") as folder:
        rows = _rows("as they are", small, repeats)
        for what, texture in (("12 megapixels", 1.0), ("12 megapixels, smooth", 0.0)):
            target = Path(folder, what)
            target.mkdir()
            chosen = small[:: len(small) // LARGE_PHOTOGRAPHS or 1][:LARGE_PHOTOGRAPHS]
            large = [enlarge(path, target / f"{n}.jpg", texture=texture) for n, path in enumerate(chosen)]
            rows += _rows(what, large, repeats)
        return rows


def enlarge(source: Path, target: Path, *, texture: float) -> Path:
    """Write a photograph enlarged to 12 megapixels, with its own fine texture added at this strength."""
    with Image.open(source) as image:
        photo = image.convert("RGB")
    width, height = LARGE_SIZE
    fine = np.asarray(photo, np.float32) - np.asarray(photo.filter(ImageFilter.GaussianBlur(2)), np.float32)
    # Mirroring at the edges avoids seams in the texture.
    tile = np.concatenate([fine, fine[::-1]])
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    repeated = np.tile(tile, (height // tile.shape[0] + 1, width // tile.shape[1] + 1, 1))[:height, :width]
    pixels = np.asarray(photo.resize(LARGE_SIZE, Image.Resampling.BICUBIC), np.float32) + texture * repeated
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target, quality=90)
    return target


def _rows(what: str, paths: Sequence[Path], repeats: int) -> list[dict[str, Any]]:
    training, evaluation = training_transform(_SPEC, "standard"), evaluation_transform(_SPEC)
    works: dict[str, tuple[Work, Work]] = {
        "training": (_ours(training, views=1), _theirs(_TUTORIAL_TRAINING)),
        f"training, {VIEWS} views": (_ours(training, views=VIEWS), _theirs(_TUTORIAL_TRAINING, views=VIEWS)),
        "validation": (_ours(evaluation, views=1), _theirs(_TUTORIAL_EVALUATION)),
    }
    facts = {
        "photographs": what,
        "count": len(paths),
        "mean_kib": statistics.mean(path.stat().st_size for path in paths) / 1024,
    }
    rows = []
    for name, (ours, theirs) in works.items():
        # Interleaved, so that a disturbance of the machine affects both.
        pairs = [(_seconds(ours, paths), _seconds(theirs, paths)) for _ in range(repeats + 1)][1:]
        rows.append({**facts, "work": name, "ftcli": [o for o, _ in pairs], "tutorial": [t for _, t in pairs]})
    return rows


def _ours(transform: Transform, *, views: int) -> Work:
    def work(path: Path) -> list[Tensor]:
        image = decode(path, minimum_side=transform.minimum_side)
        return [draw(transform, image, seed) for seed in range(views)]

    return work


def _theirs(transform: Callable[[Image.Image], Tensor], *, views: int = 1) -> Work:
    def work(path: Path) -> list[Tensor]:
        return [transform(default_loader(str(path))) for _ in range(views)]

    return work


def _seconds(work: Work, paths: Sequence[Path]) -> float:
    """Return the mean seconds for one photograph."""
    started = time.perf_counter()
    for path in paths:
        work(path)
    return (time.perf_counter() - started) / len(paths)
