"""Owns checkpoints: safetensors with JSON metadata, everything needed to use the weights, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ftcli.errors import CheckpointError
from ftcli.records import InputSpec
from ftcli.run.directory import RunDirectory
from ftcli.run.files import write_bytes

FORMAT_VERSION = 1
_KEY = "ftcli"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself. `recipe` is the resolved recipe as plain data."""

    model: str
    classes: tuple[str, ...]
    spec: InputSpec
    recipe: Mapping[str, Any]
    epoch: int
    val: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the metadata."""
        return {
            "format": FORMAT_VERSION,
            "model": self.model,
            "classes": list(self.classes),
            "spec": self.spec.to_json(),
            "recipe": dict(self.recipe),
            "epoch": self.epoch,
            "val": dict(self.val),
        }


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and what they say of themselves."""

    path: Path
    info: CheckpointInfo
    state_dict: Mapping[str, Tensor]


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Write a checkpoint so that a crash leaves the old or the new one whole."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    metadata = {_KEY: json.dumps(info.to_json(), allow_nan=False)}
    write_bytes(path, save(tensors, metadata=metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the best one of a run directory. Runs no code from it.

    Raises CheckpointError, naming the file, for what is missing, truncated, not ftcli's or of another version.
    """
    file = RunDirectory(path).best if path.is_dir() else path
    if not file.is_file():
        what = "has no finished epoch yet, so no checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(what, where=str(path), hint="Give a run directory or a .safetensors file of ftcli.")
    try:
        with safe_open(file, framework="pt") as opened:
            info = _info(opened.metadata() or {}, file)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"is not a readable checkpoint: {error}", where=str(file), hint="Is the file complete?"
        ) from error
    return Checkpoint(file, info, tensors)


def is_checkpoint(path: Path) -> bool:
    """Tell whether a path is a run directory or a checkpoint that ftcli wrote, rather than plain weights."""
    if path.is_dir():
        return True
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as opened:
            return _KEY in (opened.metadata() or {})
    except SafetensorError:
        return False


def _info(metadata: Mapping[str, str], file: Path) -> CheckpointInfo:
    if _KEY not in metadata:
        raise CheckpointError(
            "has weights but not ftcli's description of them",
            where=str(file),
            hint="Give a checkpoint that ftcli train wrote; plain weights go into a recipe as model.weights.",
        )
    try:
        value = json.loads(metadata[_KEY])
        if value["format"] != FORMAT_VERSION:
            raise CheckpointError(
                f"has format {value['format']}; this ftcli reads format {FORMAT_VERSION}",
                where=str(file),
                hint="Use the version of ftcli that wrote it.",
            )
        return CheckpointInfo(
            model=str(value["model"]),
            classes=tuple(map(str, value["classes"])),
            spec=InputSpec.from_json(value["spec"]),
            recipe=dict(value["recipe"]),
            epoch=int(value["epoch"]),
            val={str(name): float(figure) for name, figure in value["val"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"has a damaged description: {error!r}", where=str(file)) from error
