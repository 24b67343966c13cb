"""The files that describe a run's images: dataset.json (splits) and train.sha256 (each training image)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ftcli.data.checks.findings import Finding, text, with_level
from ftcli.data.dataset import Dataset
from ftcli.data.inspection import BadImage, ImageFacts
from ftcli.records import SCHEMA
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import damaged, read_json, read_text

_HASH_LINE = re.compile(r"\\?[0-9a-f]{64}  .")


def dataset_json(
    dataset: Dataset,
    facts: Mapping[str, Sequence[ImageFacts]],
    skipped: Sequence[BadImage] = (),
    findings: Sequence[Finding] = (),
) -> dict[str, Any]:
    """Return dataset.json; a val split taken from train is listed image by image."""
    splits = {}
    for split, images in facts.items():
        samples = dataset.splits[split]
        counts = Counter(dataset.classes[sample.label] for sample in samples)
        lines = "".join(f"{image.sha256} {image.name}\n" for image in images)
        splits[split] = {
            "images": len(samples),
            "per_class": {name: counts[name] for name in dataset.classes},
            "sha256": hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(),
        }
        if any(sample.cluster is not None for sample in samples):
            splits[split]["groups"] = len({sample.cluster for sample in samples})
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "root": str(dataset.root),
        "classes": list(dataset.classes),
        "val_fraction": dataset.val_fraction,
        "group_by": dataset.group_by,
        "splits": splits,
        "skipped": [image.to_json() for image in skipped],
        "findings": [finding.to_json() for finding in findings],
        "strays": [str(path.relative_to(dataset.root)) for path in dataset.unlabelled],
    }
    if dataset.val_fraction is not None:
        value["val_images"] = [sample.name for sample in dataset.splits["val"]]
    return value


def read_dataset_json(run: RunDirectory) -> dict[str, Any]:
    """Read dataset.json. Raises RunDirectoryError if it does not describe splits."""
    value = read_json(run.dataset)
    splits = value.get("splits")
    if not isinstance(splits, dict) or not all(isinstance(split, dict) for split in splits.values()):
        raise damaged(run.dataset, "does not describe the splits")
    return value


def hash_lines(images: Sequence[ImageFacts]) -> str:
    """Return hash and name of each image in the format that `sha256sum --check` reads."""
    lines = []
    for image in images:
        name = image.name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        # Like sha256sum, start the line with a backslash if the name has escapes.
        escaped = "\\" if name != image.name else ""
        lines.append(f"{escaped}{image.sha256}  {name}\n")
    return "".join(lines)


def read_train_hashes(run: RunDirectory) -> frozenset[str] | None:
    """Return the hash (hex) of every training image; None if an older run has no list.

    Raises RunDirectoryError if the list is damaged, or missing from a run that had it.
    """
    run.check_unchanged(run.train_images.name)
    if not run.train_images.exists():
        return None
    *lines, rest = read_text(run.train_images).split("\n")
    if rest or not lines or not all(map(_HASH_LINE.match, lines)):
        raise damaged(run.train_images, "is not a list in the format of sha256sum")
    return frozenset(line.removeprefix("\\")[:64] for line in lines)


def read_findings(run: RunDirectory, value: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Read the findings of dataset.json, the most severe first; empty for an older run.

    Raises RunDirectoryError for invalid findings.
    """
    try:
        found = [Finding.from_json(each) for each in value.get("findings", [])]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(run.dataset, f"has invalid findings: {error}") from error
    return with_level(found, "error", "warning", "info")


def read_skipped(run: RunDirectory, value: Mapping[str, Any]) -> tuple[BadImage, ...]:
    """Read the skipped images of dataset.json. Raises RunDirectoryError for invalid ones."""
    try:
        return tuple(BadImage(text(each["path"]), text(each["reason"])) for each in value.get("skipped", []))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(run.dataset, f"has an invalid list of skipped images: {error}") from error
