"""Owns checkpoints: safetensors with JSON metadata, everything needed to use the weights, no pickle.

The metadata has two keys: `ftcli`, the description in JSON, and `crc32`, the checksum of description and tensors, so
that a damaged file is refused rather than used with other weights or other classes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ftcli.errors import CheckpointError
from ftcli.records import InputSpec, checked
from ftcli.run.directory import RunDirectory
from ftcli.run.files import write_bytes

FORMAT_VERSION = 1
_KEY = "ftcli"
_CHECKSUM = "crc32"


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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckpointInfo:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        rest = checked(_Rest, {key: value[key] for key in value if key != "classes"})
        spec = InputSpec.from_json(rest.spec)
        return cls(rest.model, _classes(value.get("classes")), spec, rest.recipe, rest.epoch, rest.val)


@dataclass(frozen=True)
class _Rest:
    """What a description says besides the classes, whose names need not be valid UTF-8, as pydantic wants it."""

    model: str
    spec: dict[str, Any]
    recipe: dict[str, Any]
    epoch: int
    val: dict[str, float]


def _classes(names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("classes: not a list of names")
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError("classes: a name is there twice, or there are fewer than two")
    return tuple(names)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and what they say of themselves."""

    path: Path
    info: CheckpointInfo
    state_dict: Mapping[str, Tensor]


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Write a checkpoint so that a crash leaves the old or the new one whole."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    description = json.dumps(info.to_json(), allow_nan=False)
    metadata = {_KEY: description, _CHECKSUM: _checksum(description, tensors)}
    write_bytes(path, save(tensors, metadata=metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the best one of a run directory. Runs no code from it.

    Raises CheckpointError, naming the file, for what is missing, damaged, not ftcli's or of another version, and
    RunDirectoryError where a finished run's checkpoint is not the one that it wrote.
    """
    file = RunDirectory(path).best if path.is_dir() else path
    if not file.is_file():
        what = "has no finished epoch yet, so no checkpoint" if path.is_dir() else "does not exist"
        what = "is not a file" if file.exists() else what
        raise CheckpointError(what, where=str(path), hint="Give a run directory or a .safetensors file of ftcli.")
    if path.is_dir():
        RunDirectory(path).check_unchanged(f"{file.parent.name}/{file.name}")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            info = _info(metadata, file)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"is not a readable checkpoint: {error}", where=str(file), hint="Is the file complete?"
        ) from error
    if metadata.get(_CHECKSUM) != _checksum(metadata[_KEY], tensors):
        hint = "The file was damaged or edited: restore it from a copy, or train the run again."
        raise CheckpointError("is not what ftcli wrote: its checksum is another", where=str(file), hint=hint)
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
        if not isinstance(value, dict) or value.get("format") != FORMAT_VERSION:
            found = value.get("format") if isinstance(value, dict) else None
            raise CheckpointError(
                f"has format {found}; this ftcli reads format {FORMAT_VERSION}",
                where=str(file),
                hint="Use the version of ftcli that wrote it.",
            )
        return CheckpointInfo.from_json(value)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"has a damaged description: {error}", where=str(file)) from error


def _checksum(description: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 (hex) of a description and of the name, dtype, shape and bytes of every tensor."""
    checksum = zlib.crc32(description.encode())
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"
