"""Owns checkpoints: weights with everything needed to use them.

Owns files of tensors that describe themselves: safetensors with JSON metadata, no pickle.

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
from ftcli.runs.directory import RunDirectory, check_one_run
from ftcli.runs.files import SEE_THAT_IT_CAN, write_bytes


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
    save_tensors(path, state_dict, info.to_json())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the best one of a run directory. Runs no code from it.

    Raises CheckpointError, naming the file, for what is missing, damaged, not ftcli's or of another version, and
    RunDirectoryError where a finished run's checkpoint is not the one that it wrote.
    """
    check_one_run(path)
    file = RunDirectory(path).best if path.is_dir() else path
    if not file.is_file():
        what = f"has no {file.name}, so no finished epoch" if path.is_dir() else "does not exist"
        what = "is not a file" if file.exists() else what
        raise CheckpointError(what, where=str(path), hint="Give a run directory or a .safetensors file of ftcli.")
    if path.is_dir():
        RunDirectory(path).check_unchanged(f"{file.parent.name}/{file.name}")
    held = load_tensors(file)
    try:
        info = CheckpointInfo.from_json(held.description)
    except (ValueError, RecursionError) as error:
        raise damaged_description(file, error) from error
    return Checkpoint(file, info, held.tensors)


def is_checkpoint(path: Path) -> bool:
    """Tell whether a path is a run directory or a checkpoint that ftcli wrote, rather than plain weights."""
    return path.is_dir() or describes_itself(path)


FORMAT_VERSION = 1
_KEY = "ftcli"
_CHECKSUM = "crc32"


@dataclass(frozen=True, eq=False)
class TensorFile:
    """Tensors by name, and the description that was written with them."""

    description: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors so that a crash leaves the old or the new file whole; the same ones give the same bytes.

    Raises RunError.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"format": FORMAT_VERSION, **description}, allow_nan=False)
    content = save(on_cpu, metadata={_KEY: text, _CHECKSUM: _checksum(text, on_cpu)})
    write_bytes(path, _with_sorted_metadata(content))


def load_tensors(path: Path) -> TensorFile:
    """Read what `save_tensors` wrote; runs no code from it.

    Raises CheckpointError, naming the file, for what is damaged, not ftcli's or of another version.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            description = _description(metadata, path)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    if metadata.get(_CHECKSUM) != _checksum(metadata[_KEY], tensors):
        hint = "The file was damaged or edited: restore it from a copy, or train the run again."
        raise CheckpointError("is not what ftcli wrote: its checksum is another", where=str(path), hint=hint)
    return TensorFile(description, tensors)


def describes_itself(path: Path) -> bool:
    """Tell whether a file is one that `save_tensors` wrote, rather than plain weights."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as opened:
            return _KEY in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False


def damaged_description(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a description that lacks something or has it wrong."""
    return CheckpointError(f"has a damaged description: {error}", where=str(path))


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a file that safetensors refuses: one of another kind, or one that was cut or damaged."""
    try:
        with path.open("rb") as file:
            begins_as_one = file.read(9)[8:] == b"{"  # the length of a header, and the header, which is JSON
    except OSError as unread:
        message = f"cannot be read: {unread.strerror or unread}"
        return CheckpointError(message, where=str(path), hint=SEE_THAT_IT_CAN)
    if begins_as_one:
        return CheckpointError(f"is not a readable checkpoint: {error}", where=str(path), hint="Is the file complete?")
    return CheckpointError(
        "is no checkpoint of ftcli, nor any other safetensors file",
        where=str(path),
        hint="Give a run directory or a .safetensors file that ftcli train wrote.",
    )


def _with_sorted_metadata(content: bytes) -> bytes:
    """Return a safetensors file with the keys of its metadata in order: safetensors itself leaves it to chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[end:]))


def _description(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if _KEY not in metadata:
        raise CheckpointError(
            "has weights but not ftcli's description of them",
            where=str(path),
            hint="Give a checkpoint that ftcli train wrote; plain weights go into a recipe as model.weights.",
        )
    try:
        value = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise damaged_description(path, error) from error
    found = value.get("format") if isinstance(value, dict) else None
    if not isinstance(value, dict) or found != FORMAT_VERSION:
        raise CheckpointError(
            f"has format {found}; this ftcli reads format {FORMAT_VERSION}",
            where=str(path),
            hint="Use the version of ftcli that wrote it.",
        )
    return value


def _checksum(description: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 (hex) of a description and of the name, dtype, shape and bytes of every tensor."""
    checksum = zlib.crc32(description.encode())
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"
