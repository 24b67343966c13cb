"""Owns what a run says of its images: dataset.json on every split, and train.sha256 on each image of train."""

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
    """Return dataset.json; a val split that was taken from train is listed image by image."""
    splits = {}
    for split, images in facts.items():
        samples = dataset.splits[split]
        counts = Counter(dataset.classes[sample.label] for sample in samples)
        splits[split] = {
            "images": len(samples),
            "per_class": {name: counts[name] for name in dataset.classes},
            "sha256": _content_hash(images),
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
    """Read dataset.json. Raises RunDirectoryError, naming the file, where it does not describe splits."""
    value = read_json(run.dataset)
    splits = value.get("splits")
    if not isinstance(splits, dict) or not all(isinstance(split, dict) for split in splits.values()):
        raise damaged(run.dataset, "does not describe the splits")
    return value


def hash_lines(images: Sequence[ImageFacts]) -> str:
    """Return the hash and name of each image, as `sha256sum` writes them and `sha256sum --check` reads them."""
    return "".join(map(_hash_line, images))


def read_train_hashes(run: RunDirectory) -> frozenset[str] | None:
    """Return the hash (hex) of every image that a run was trained on; None where an older run does not list them.

    Raises RunDirectoryError where the list is damaged, or one that was there is missing.
    """
    run.check_unchanged(run.train_images.name)
    if not run.train_images.exists():
        return None
    *lines, rest = read_text(run.train_images).split("\n")
    if rest or not lines or not all(map(_HASH_LINE.match, lines)):
        raise damaged(run.train_images, "does not list images as sha256sum does")
    return frozenset(line.removeprefix("\\")[:64] for line in lines)


def read_findings(run: RunDirectory, value: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Read the findings of dataset.json, the gravest first; none where an older run lacks them.

    Raises RunDirectoryError for what are no findings.
    """
    try:
        found = [Finding.from_json(each) for each in value.get("findings", [])]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(run.dataset, f"does not list findings as ftcli check does: {error}") from error
    return with_level(found, "error", "warning", "info")


def read_skipped(run: RunDirectory, value: Mapping[str, Any]) -> tuple[BadImage, ...]:
    """Read the images of dataset.json that were left out. Raises RunDirectoryError for what are none."""
    try:
        return tuple(BadImage(text(each["path"]), text(each["reason"])) for each in value.get("skipped", []))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(run.dataset, f"does not list the images that were left out: {error}") from error


def _hash_line(image: ImageFacts) -> str:
    """Return a line that begins with a backslash where the name has characters that are escaped in it."""
    name = image.name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    escaped = "\\" if name != image.name else ""
    return f"{escaped}{image.sha256}  {name}\n"


def _content_hash(images: Sequence[ImageFacts]) -> str:
    """Hash names and contents together, in order."""
    lines = "".join(f"{image.sha256} {image.name}\n" for image in images)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
