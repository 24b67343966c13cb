"""Owns what an exact resume needs besides the last checkpoint: `resume.<epoch>.safetensors`, one for an epoch.

An epoch's file is written before the last checkpoint says that the epoch is done, and holds all that other files will
say of the epoch. So whatever a crash leaves, the last checkpoint and the file of its epoch belong together, and the
other files follow from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ftcli.errors import RunDirectoryError
from ftcli.records import EpochRecord
from ftcli.run.directory import RunDirectory
from ftcli.run.files import write_bytes

FORMAT_VERSION = 1
_KEY = "ftcli"
_OPTIMIZER = "optimizer/"
_PROBABILITIES = "val_probabilities"
_HINT = "The run cannot be resumed; ftcli train with model.weights set to it starts a new one from its best weights."


@dataclass(frozen=True, eq=False)
class ResumeState:
    """What is known after an epoch and stands nowhere else yet.

    `seconds` counts the wall time of the run so far, `optimizer` holds what the optimizer remembers, and
    `val_probabilities` (N, classes) float64 what a best epoch predicted for val, None after any other.
    """

    record: EpochRecord
    seconds: float
    notices: tuple[str, ...]
    optimizer: Mapping[str, Tensor]
    val_probabilities: NDArray[np.float64] | None


def save_state(run: RunDirectory, state: ResumeState) -> None:
    """Write the state of an epoch beside those of others. Raises RunError when it cannot be written."""
    tensors = {f"{_OPTIMIZER}{name}": tensor.detach().cpu().contiguous() for name, tensor in state.optimizer.items()}
    if state.val_probabilities is not None:
        tensors[_PROBABILITIES] = torch.from_numpy(state.val_probabilities)
    value = {
        "format": FORMAT_VERSION,
        "record": state.record.to_json(),
        "seconds": state.seconds,
        "notices": list(state.notices),
    }
    write_bytes(run.resume(state.record.epoch), save(tensors, metadata={_KEY: json.dumps(value, allow_nan=False)}))


def load_state(run: RunDirectory, epoch: int) -> ResumeState:
    """Read the state of an epoch; runs no code from it. Raises RunDirectoryError, naming the file."""
    path = run.resume(epoch)
    if not path.is_file():
        raise RunDirectoryError(f"is missing, though epoch {epoch} is done", where=str(path), hint=_HINT)
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        value = json.loads(metadata[_KEY])
        if value["format"] != FORMAT_VERSION:
            raise _wrong_version(path, value["format"])
        return _state(value, tensors, epoch)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunDirectoryError(f"is damaged: {error}", where=str(path), hint=_HINT) from error


def remove_states(run: RunDirectory, *, but: int) -> None:
    """Remove the states of all epochs but one; 0 removes all."""
    for path in run.checkpoints.glob("resume.*.safetensors"):
        if path != run.resume(but):
            path.unlink(missing_ok=True)


def _state(value: Mapping[str, Any], tensors: Mapping[str, Tensor], epoch: int) -> ResumeState:
    record = EpochRecord.from_json(value["record"])
    if record.epoch != epoch:
        raise ValueError(f"it is of epoch {record.epoch}")
    probabilities = tensors.get(_PROBABILITIES)
    return ResumeState(
        record=record,
        seconds=float(value["seconds"]),
        notices=tuple(map(str, value["notices"])),
        optimizer={
            name.removeprefix(_OPTIMIZER): tensor for name, tensor in tensors.items() if name.startswith(_OPTIMIZER)
        },
        val_probabilities=None if probabilities is None else probabilities.to(torch.float64).numpy(),
    )


def _wrong_version(path: Path, version: object) -> RunDirectoryError:
    return RunDirectoryError(
        f"has format {version}; this ftcli reads format {FORMAT_VERSION}",
        where=str(path),
        hint="Use the version of ftcli that wrote it.",
    )
