"""Weights files: read without running code in them, and loaded into a network."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.errors import ModelError
from ftcli.phrases import count, first_line, listed
from ftcli.records import InputSpec

_WRAPPERS = ("state_dict", "model", "model_state_dict", "model_ema")
_PREFIXES = ("module.", "_orig_mod.")

_HINT = "The weights are of another model, or of another image size: check model.name and data.image_size."


@dataclass(frozen=True, eq=False)
class SourceWeights:
    """The tensors of an ftcli checkpoint, to start another training from."""

    state_dict: Mapping[str, Tensor]
    classes: tuple[str, ...] | None
    spec: InputSpec | None
    origin: str


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file by name, unwrapped and without prefixes; no code in it is run.

    Raises ModelError where the file is missing, is not a weights file, or holds anything but tensors and plain values.
    """
    where = f"model.weights: {path}"
    if not path.is_file():
        problem = "this is a folder, not a weights file" if path.is_dir() else "no such file"
        hint = "Write default, none, the path of a .pth, .pt, .bin or .safetensors file, or a run directory."
        raise ModelError(problem, where=where, hint=hint)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {_bare(str(name)): tensor for name, tensor in named if isinstance(tensor, Tensor)}
    if not tensors:
        hint = "Save it with torch.save(model.state_dict(), PATH)."
        raise ModelError("the file holds no named tensors", where=where, hint=hint)
    return tensors


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], *, heads: Sequence[str], origin: str
) -> tuple[str, ...]:
    """Copy the body, and the head where it fits, into `network`; return what the user should know.

    Raises ModelError, before anything is copied, where a tensor of the body is missing or has another shape.
    """
    expected = network.state_dict()
    in_head = [name for name in expected if name.startswith(tuple(f"{path}." for path in heads))]
    _require(tensors, expected, names=[name for name in expected if name not in in_head], origin=origin)
    head_fits = all(name in tensors and tensors[name].shape == expected[name].shape for name in in_head)
    wanted = [name for name in expected if name in tensors and (head_fits or name not in in_head)]
    _copy({name: tensors[name] for name in wanted}, expected)
    if head_fits:
        notices = [f"{origin}: the whole network was loaded, with its head, which has as many classes as the dataset"]
    else:
        left = [f"{name} {tuple(tensors[name].shape)}" for name in in_head if name in tensors]
        not_loaded = f", {listed(left)} was not loaded" if left else ""
        notices = [f"{origin}: the body was loaded; the head is new{not_loaded}"]
    extra = [name for name in tensors if name not in expected]
    if extra:
        notices.append(f"{origin}: {_tensors(extra)} not in the model, and not loaded")
    return tuple(notices)


def load_exactly(network: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> None:
    """Copy every tensor into `network`; raise ModelError where one is missing, superfluous or of another shape."""
    expected = network.state_dict()
    _require(tensors, expected, names=list(expected), origin=origin)
    extra = [name for name in tensors if name not in expected]
    if extra:
        raise ModelError(f"{_tensors(extra)} of the weights not in the model", where=origin, hint=_HINT)
    _copy(tensors, expected)


def _copy(tensors: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Copy tensors into those of a state_dict, which are the network's own.

    Not load_state_dict: MNASNets convert older weights there, by a version that safetensors files do not hold.
    """
    with torch.no_grad():
        for name, tensor in tensors.items():
            into[name].copy_(tensor)


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        hint = "The file is damaged, or not in the safetensors format: fetch it again."
        raise ModelError(f"not a safetensors file ({error})", where=f"model.weights: {path}", hint=hint) from error


def _read_torch(path: Path) -> Any:
    try:
        compressed = _is_compressed(path)
        with warnings.catch_warnings(action="ignore"):
            content = {} if compressed else torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        hint = "If you trust the file, load it yourself and save it with torch.save(model.state_dict(), PATH)."
        message = "not a weights file, or one with Python objects other than tensors, which ftcli does not run"
        raise ModelError(message, where=f"model.weights: {path}", hint=hint) from error
    except Exception as error:
        reason = first_line(error)[:200]
        hint = "The file is damaged, or was not written by torch.save: fetch it again."
        raise ModelError(f"not a weights file ({reason})", where=f"model.weights: {path}", hint=hint) from error
    if compressed:
        hint = "Save it again with torch.save(model.state_dict(), PATH)."
        raise ModelError(
            "the file is compressed, which torch.save never does", where=f"model.weights: {path}", hint=hint
        )
    return content


def _is_compressed(path: Path) -> bool:
    """Return whether a zip archive is compressed: torch only stores, and a few bytes could grow to any size.

    Raises whatever zipfile raises for an archive that it cannot list; torch must not read that either.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def _bare(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _require(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, names: Sequence[str], origin: str
) -> None:
    # Files from before torch 0.4.1 lack these counters, which only a BatchNorm without a momentum reads.
    missing = [name for name in names if name not in tensors and not name.endswith(".num_batches_tracked")]
    shaped = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in names
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    # copy_ would convert integers without an error.
    integers = [
        f"{name} {str(tensors[name].dtype).removeprefix('torch.')}"
        for name in names
        if name in tensors and expected[name].is_floating_point() and not tensors[name].is_floating_point()
    ]
    kinds = {"are missing": missing, "have another shape": shaped, "are not floating-point numbers": integers}
    problems = [f"{len(of)} of {len(names)} tensors {what}: {listed(of)}" for what, of in kinds.items() if of]
    if problems:
        raise ModelError("; ".join(problems), where=origin, hint=_HINT)


def _tensors(names: Sequence[str]) -> str:
    return f"{count(len(names), 'tensor')} ({listed(names)}) {'is' if len(names) == 1 else 'are'}"
