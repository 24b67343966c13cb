"""The files that describe a run's images: dataset.json (splits) and train.sha256 (each training image)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftcli.data.checks.copies import Earlier
from ftcli.data.checks.findings import Finding, text, with_level
from ftcli.data.dataset import Dataset
from ftcli.data.inspection import BadImage, ImageFacts
from ftcli.errors import RunDirectoryError
from ftcli.records import SCHEMA
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import damaged, read_json, read_text

_HASH_LINE = re.compile(r"\\?[0-9a-f]{64}  .")


def dataset_json(
    dataset: Dataset,
    facts: Mapping[str, Sequence[ImageFacts]],
    skipped: Sequence[BadImage] = (),
    findings: Sequence[Finding] = (),
    earlier: Earlier | None = None,
) -> dict[str, Any]:
    """Return dataset.json; a val split taken from train is listed image by image.

    `earlier` is what the initial weights were trained on, where they are of a file or a run.
    """
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
    if earlier is not None:
        value["weights"] = {"from": earlier.source, "images": len(earlier.images), "unlisted": earlier.unlisted}
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


def hash_lines(images: Iterable[tuple[str, str]]) -> str:
    """Return (hash, name) of each image in the format that `sha256sum --check` reads."""
    lines = []
    for sha256, given in images:
        name = given.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        # Like sha256sum, start the line with a backslash if the name has escapes.
        escaped = "\\" if name != given else ""
        lines.append(f"{escaped}{sha256}  {name}\n")
    return "".join(lines)


def read_train_hashes(run: RunDirectory) -> frozenset[str] | None:
    """Return the hash (hex) of every training image; None if an older run has no list.

    Raises RunDirectoryError if the list is damaged, or missing from a run that had it.
    """
    images = _read_list(run, run.train_images)
    return None if images is None else frozenset(images)


def read_earlier(run: RunDirectory) -> Earlier | None:
    """Return what a run's initial weights were trained on; None if they are a library's, or random.

    Raises RunDirectoryError for a damaged file.
    """
    recorded = run.facts(run.dataset).get("weights")
    if recorded is not None:
        return Earlier(recorded["from"], _read_list(run, run.weights_images) or {}, recorded["unlisted"])
    weights = run.recipe_values().get("model", {}).get("weights", "default") if run.recipe.is_file() else "default"
    # An older run does not say what the run that it began with had seen.
    return None if weights in {"default", "none"} else Earlier(weights, {}, weights)


def trained_by(path: Path) -> Earlier:
    """Return what the weights at `path` were trained on: a run, a checkpoint in one, or another file.

    It includes what the weights that the run itself began with were trained on.
    """
    source, run = str(path), run_of(path)
    if run is None:
        return Earlier(source, {}, source)
    try:
        own, earlier = _read_list(run, run.train_images), read_earlier(run)
    except RunDirectoryError:  # the checkpoint can be used without these files
        return Earlier(source, {}, source)
    if earlier is None:
        earlier = Earlier(source, {})
    return Earlier(source, {**earlier.images, **(own or {})}, source if own is None else earlier.unlisted)


def run_of(path: Path) -> RunDirectory | None:
    """Return the run that `path` is, or whose best or last checkpoint it is; None for any other file."""
    if path.is_dir():
        return RunDirectory(path)
    file = path.resolve()
    run = RunDirectory(file.parent.parent)
    return run if file in {run.best, run.last} else None


def _read_list(run: RunDirectory, file: Path) -> dict[str, str] | None:
    """Return the name of each image by its hash (hex); None without a list. Raises RunDirectoryError if damaged."""
    run.check_unchanged(file.name)
    if not file.exists():
        return None
    *lines, rest = read_text(file).split("\n")
    if rest or not lines or not all(map(_HASH_LINE.match, lines)):
        raise damaged(file, "is not a list in the format of sha256sum")
    images = {}
    for line in lines:
        sha256, _, name = line.removeprefix("\\").partition("  ")
        images[sha256] = _unescaped(name) if line.startswith("\\") else name
    return images


def _unescaped(name: str) -> str:
    return re.sub(r"\\([\\nr])", lambda found: {"\\": "\\", "n": "\n", "r": "\r"}[found[1]], name)


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
