"""Results of the command line, and images and predictions made for a test."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ftcli.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of one call of the command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        assert self.out.count("\n") == 1, "one object on one line"
        return dict(json.loads(self.out))


Ftcli = Callable[..., Outcome]
MakeRun = Callable[..., Path]


def write_images(folder: Path, *, count: int, colour: tuple[int, int, int], side: int = 40) -> None:
    """Write different noisy PNG images of one colour, the same ones in every call."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng([*colour, count])
    for number in range(count):
        noise = generator.normal(0, 40, (side, side, 3))
        pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


def predictions_with(
    wrong: Iterable[int], *, images: int = 153, classes: tuple[str, ...] = ("ants", "bees"), folder: str = "val"
) -> Predictions:
    """Return predictions of images with alternating labels; the wrong ones predict the next class."""
    count = len(classes)
    labels = np.arange(images, dtype=np.int64) % count
    predicted = np.where(np.isin(np.arange(images), list(wrong)), (labels + 1) % count, labels)
    probabilities = np.full((images, count), 0.1 / (count - 1))
    probabilities[np.arange(images), predicted] = 0.9
    paths = tuple(f"{folder}/{classes[label]}/{image}.jpg" for image, label in enumerate(labels))
    return Predictions(classes, paths, paths, labels, probabilities)


def findings_of(outcome: Outcome) -> dict[str, list[dict[str, Any]]]:
    """Return the findings of `check --json` by code."""
    by_code: dict[str, list[dict[str, Any]]] = {}
    for finding in outcome.json["findings"]:
        by_code.setdefault(finding["code"], []).append(finding)
    return by_code


def files_of(finding: dict[str, Any]) -> list[list[str]]:
    """Return the files of each case of a finding."""
    return [case["files"] for case in finding["cases"]]
