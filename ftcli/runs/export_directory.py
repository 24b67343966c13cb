"""The directory of an exported model: the file, its description, a script that runs it, and images to check it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.errors import CheckpointError
from ftcli.model.formats import FORMATS
from ftcli.records import InputSpec, checked
from ftcli.runs.files import read_json

DESCRIPTION = "export.json"
SCRIPT = "classify.py"
CARD = "README.md"
GOLDEN = "golden"

_HINT = "Give a file that ftcli export wrote, with the other files of its directory."


@dataclass(frozen=True)
class GoldenImage:
    """An image that travels with a model, and the probabilities (classes,) that the model gave it."""

    file: str
    predicted: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class ExportedModel:
    """What export.json says of a model: what it takes, and the SHA-256 (hex) of each of its `files`.

    `input` is uint8 or float; `tolerance` is the largest difference of a probability that counts as equal.
    """

    format: str
    file: str
    classes: tuple[str, ...]
    preprocessing: InputSpec
    input: str
    model: str
    recipe: Mapping[str, Any]
    tolerance: float
    golden: tuple[GoldenImage, ...]
    files: Mapping[str, str]


def is_export(path: Path) -> bool:
    """Return whether a path is a directory of an exported model, or the model file in one."""
    folder = path if path.is_dir() else path.parent
    return (folder / DESCRIPTION).is_file() and (path.is_dir() or path.name in {each.file for each in FORMATS.values()})


def read_export(path: Path) -> tuple[Path, ExportedModel]:
    """Read the description of an exported model; return its directory, too.

    `path` is that directory or the model file. Raises CheckpointError for anything else, and RunDirectoryError for a
    description that is damaged.
    """
    folder = path if path.is_dir() else path.parent
    if not is_export(path):
        raise CheckpointError("is not an exported model", where=str(path), hint=_HINT)
    value = read_json(folder / DESCRIPTION)
    try:
        found = checked(ExportedModel, {**value, "classes": tuple(value.get("classes", ()))})
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{DESCRIPTION} is damaged: {error}", where=str(folder), hint=_HINT) from error
    return folder, found
