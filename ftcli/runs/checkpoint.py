"""Checkpoints: weights with everything needed to use them, in safetensors files, without pickle.

The file's metadata has two keys: `ftcli`, a description in JSON, and `crc32`, the checksum of description and tensors.
So a damaged file is refused; it cannot end up with other weights or other classes. `save_tensors` and `load_tensors` do
the same for other files of tensors, such as the resume state.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from ftcli.errors import CheckpointError, FtcliError, ModelError, RunError
from ftcli.model.network import Network, restore_network
from ftcli.phrases import listed, resume_hint
from ftcli.records import InputSpec, checked
from ftcli.runs.directory import RunDirectory, check_one_run, near_run
from ftcli.runs.files import CHECK_THE_FILE, write_bytes

FORMAT_VERSION = 1
"""Version of the description; other versions are refused."""

_KEY = "ftcli"
_CHECKSUM = "crc32"
_REPORT = "Choose another model, and report this one: its weights would be lost."
_HINT = "Give a run directory or a .safetensors file written by ftcli train."


@dataclass(frozen=True)
class CheckpointInfo:
    """The description in a checkpoint. `recipe` is the resolved recipe as plain data."""

    model: str
    classes: tuple[str, ...]
    spec: InputSpec
    recipe: Mapping[str, Any]
    epoch: int
    val: Mapping[str, float]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckpointInfo:
        """Read a description's fields. Raises ValueError for anything else."""
        # The names of classes need not be the valid UTF-8 that pydantic requires.
        rest = checked(cls, {**value, "classes": []})
        return replace(rest, classes=_classes(value.get("classes")), spec=InputSpec.from_json(value["spec"]))


def _classes(names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("classes: not a list of names")
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError("classes: a duplicate name, or fewer than two")
    return tuple(names)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and their description."""

    path: Path
    info: CheckpointInfo
    state_dict: Mapping[str, Tensor]


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Write a checkpoint whole or not at all. Raises RunError."""
    save_tensors(path, state_dict, asdict(info))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the best one of a run directory, without running code from it.

    Raises CheckpointError for a file that is missing, damaged, not from ftcli or of another version, and
    RunDirectoryError if the checkpoint of a finished run has changed.
    """
    check_one_run(path)
    file = RunDirectory(path).best if path.is_dir() else path
    if not file.is_file():
        if path.is_dir() and RunDirectory(path).has_its_marks() and not file.exists():
            raise CheckpointError(f"has no {file.name}: no finished epoch", where=str(path), hint=resume_hint(path))
        what = f"has no {file.name}" if path.is_dir() else "does not exist"
        what = "is not a file" if file.exists() else what
        raise CheckpointError(what, where=str(path), hint=near_run(path) or _HINT)
    if path.is_dir():
        RunDirectory(path).check_unchanged(f"{file.parent.name}/{file.name}")
    description, tensors = load_tensors(file)
    try:
        info = CheckpointInfo.from_json(description)
    except (ValueError, RecursionError) as error:
        raise damaged_description(file, error) from error
    return Checkpoint(file, info, tensors)


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is a run directory or a file of ftcli, rather than plain weights."""
    if path.is_dir() or path.suffix != ".safetensors" or not path.is_file():
        return path.is_dir()
    try:
        with safe_open(path, framework="pt") as opened:
            return _KEY in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False


def check_saving(network: Network) -> None:
    """Save a network's weights in memory and read them back. Raises RunError where they differ or do not fit it."""
    content = _packed(network.module.state_dict(), {})
    _check_restores(network, load(content), origin=network.name)


def check_saved(path: Path, network: Network) -> None:
    """Read back the checkpoint just written of a network, and remove it if it does not hold the same weights.

    Raises RunError.
    """
    try:
        _check_restores(network, load_checkpoint(path).state_dict, origin=str(path))
    except FtcliError as error:
        path.unlink(missing_ok=True)
        message = f"the checkpoint could not be read back, and was removed: {error.message}"
        raise RunError(message, where=str(path), hint=error.hint or CHECK_THE_FILE) from error


def _check_restores(network: Network, stored: Mapping[str, Tensor], *, origin: str) -> None:
    """Raise RunError unless stored tensors are those of a network, to the bit, and fit it as built from its name."""
    try:
        with torch.device("meta"):  # names, shapes and types, without memory or time for weights
            restore_network(network.name, classes=network.classes, spec=network.spec, state_dict=stored, origin=origin)
    except ModelError as error:
        raise RunError(f"its weights could not be read back: {error.message}", where=origin, hint=_REPORT) from error
    changed = [name for name, tensor in network.module.state_dict().items() if not _same_bits(tensor, stored[name])]
    if changed:
        raise RunError(f"changed while they were saved: {listed(changed)}", where=origin, hint=_REPORT)


def _same_bits(tensor: Tensor, other: Tensor) -> bool:
    first, second = (each.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for each in (tensor, other))
    return tensor.dtype == other.dtype and tensor.shape == other.shape and torch.equal(first, second)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors whole or not at all; equal tensors give equal bytes. Raises RunError."""
    write_bytes(path, _packed(tensors, description))


def _packed(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> bytes:
    on_cpu: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        place = copy.untyped_storage().data_ptr()
        # One tensor under two names is written twice: safetensors would refuse it.
        on_cpu[name] = copy.clone() if place in stored else copy
        stored.add(place)
    text = json.dumps({"format": FORMAT_VERSION, **description}, allow_nan=False)
    content = save(on_cpu, metadata={_KEY: text, _CHECKSUM: _checksum(text, on_cpu)})
    return _with_sorted_metadata(content)


def load_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the description and the tensors that `save_tensors` wrote, without running code from the file.

    Raises CheckpointError for a file that is damaged, not from ftcli or of another version.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            description = _description(metadata, path)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    if metadata.get(_CHECKSUM) != _checksum(metadata[_KEY], tensors):
        hint = "Restore the file from a copy, or train the run again."
        raise CheckpointError("is damaged or was edited: checksum mismatch", where=str(path), hint=hint)
    return description, tensors


def damaged_description(path: Path, error: Exception) -> CheckpointError:
    """Return the error for an incomplete or invalid description."""
    return CheckpointError(f"has a damaged description: {error}", where=str(path))


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a file that safetensors refuses: another kind of file, or a damaged one."""
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # 8 bytes for the header's length, then the header in JSON
    except OSError as unread:
        message = f"cannot be read: {unread.strerror or unread}"
        return CheckpointError(message, where=str(path), hint=CHECK_THE_FILE)
    if is_safetensors:
        return CheckpointError(
            f"is not a readable checkpoint: {error}", where=str(path), hint="Check that the copy is complete."
        )
    return CheckpointError("is not a checkpoint of ftcli or any other safetensors file", where=str(path), hint=_HINT)


def _with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata keys of a safetensors file; safetensors writes them in random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[end:]))


def _description(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if _KEY not in metadata:
        raise CheckpointError(
            "has weights without a description by ftcli",
            where=str(path),
            hint="Give a checkpoint written by ftcli train. Set model.weights in a recipe to use plain weights.",
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
            hint="Use the ftcli version that wrote it.",
        )
    return value


def _checksum(description: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 (hex) of description, and of name, dtype, shape and bytes of every tensor."""
    checksum = zlib.crc32(description.encode())
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"
