"""What `ftcli predict` writes: one line per image as CSV, JSON or a table, and a line on all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ftcli.phrases import count, duration
from ftcli.report.format import printable, share
from ftcli.runs.predictions_file import csv_line

ABSTAIN = "abstain"
"""The label of an image whose confidence is below the threshold."""


@dataclass(frozen=True)
class Form:
    """What is written of each image: the `topk` most probable classes, or the probabilities of all."""

    format: Literal["csv", "jsonl", "table"] = "csv"
    topk: int = 1
    probabilities: bool = False


@dataclass(frozen=True, eq=False)
class Labelled:
    """One image with its label, a class or `abstain`, and its probabilities (classes,)."""

    path: str
    sha256: str
    predicted: str
    confidence: float
    probabilities: NDArray[np.float64]

    def best(self, topk: int) -> list[int]:
        """Return the most probable classes, the first of equal ones first."""
        found: list[int] = np.argsort(-self.probabilities, kind="stable")[:topk].tolist()
        return found

    def to_json(self, classes: Sequence[str], form: Form) -> dict[str, Any]:
        """Return the object of one JSON line."""
        shown: dict[str, Any] = {
            "path": self.path, "sha256": self.sha256, "predicted": self.predicted, "confidence": self.confidence,
        }  # fmt: skip
        if form.topk > 1:
            shown["top"] = [
                {"class": classes[label], "probability": float(self.probabilities[label])}
                for label in self.best(form.topk)
            ]
        if form.probabilities:
            shown["probabilities"] = dict(zip(classes, self.probabilities.tolist(), strict=True))
        return shown


def header(form: Form, classes: Sequence[str]) -> str | None:
    """Return the line before the images, without its end; None for JSON lines."""
    if form.format == "jsonl":
        return None
    if form.format == "table":
        return f"{'predicted':<{_width(classes)}}  confidence  path"
    columns = ["path", "sha256", "predicted", "confidence"]
    columns += [f"{name}_{rank}" for rank in range(2, form.topk + 1) for name in ("predicted", "confidence")]
    columns += [f"probability:{name}" for name in classes] if form.probabilities else []
    return csv_line(columns)


def line(form: Form, image: Labelled, classes: Sequence[str]) -> str:
    """Return the line of one image, without its end."""
    if form.format == "jsonl":
        return json.dumps(image.to_json(classes, form), ensure_ascii=False)
    if form.format == "table":
        return f"{printable(image.predicted):<{_width(classes)}}  {image.confidence:>10.4f}  {printable(image.path)}"
    values = [image.path, image.sha256, image.predicted, _digits(image.confidence)]
    for label in image.best(form.topk)[1:]:
        values += [classes[label], _digits(image.probabilities[label])]
    values += [_digits(value) for value in image.probabilities] if form.probabilities else []
    return csv_line(values)


def summary_line(labels: Mapping[str, int], *, seconds: float, threshold: float | None) -> str:
    """Return how many images have which label, how fast they were labelled, and how many have a class."""
    images = sum(labels.values())
    rate = f" ({images / seconds:,.0f} images/s)" if seconds else ""
    parts = ", ".join(f"{number:,} {printable(name)}" for name, number in labels.items() if number)
    text = f"{count(images, 'image')} in {duration(seconds)}{rate}: {parts or 'none could be read'}"
    if threshold is not None and images:
        text += f"; {share(1 - labels[ABSTAIN] / images)} answered, at a confidence of {threshold:.4f} or more"
    return text


def _digits(probability: float) -> str:
    """Return a probability with the nine digits that keep a float32 exactly."""
    return f"{probability:.9g}"


def _width(classes: Sequence[str]) -> int:
    return max(len("predicted"), *(len(printable(name)) for name in classes))
