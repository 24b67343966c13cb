"""Owns what an exact resume needs besides the last checkpoint: `resume.<epoch>.safetensors`, one for an epoch.

An epoch's file is written before the last checkpoint says that the epoch is done, and holds all that other files will
say of the epoch. So whatever a crash leaves, the last checkpoint and the file of its epoch belong together, and the
other files follow from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.errors import CheckpointError
from ftcli.records import EpochRecord, checked
from ftcli.runs.checkpoint import damaged_description, load_tensors, save_tensors
from ftcli.runs.directory import RunDirectory

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


@dataclass(frozen=True)
class _Told:
    """What a state's description says."""

    record: EpochRecord
    seconds: float
    notices: tuple[str, ...]


def save_state(run: RunDirectory, state: ResumeState) -> None:
    """Write the state of an epoch beside those of others. Raises RunError when it cannot be written."""
    tensors = {f"{_OPTIMIZER}{name}": tensor for name, tensor in state.optimizer.items()}
    if state.val_probabilities is not None:
        tensors[_PROBABILITIES] = torch.from_numpy(state.val_probabilities)
    told = _Told(state.record, state.seconds, state.notices)
    save_tensors(run.resume(state.record.epoch), tensors, asdict(told))


def load_state(run: RunDirectory, epoch: int) -> ResumeState:
    """Read the state of an epoch; runs no code from it. Raises CheckpointError, naming the file."""
    path = run.resume(epoch)
    if not path.is_file():
        raise CheckpointError(f"is missing, though last.safetensors is of epoch {epoch}", where=str(path), hint=_HINT)
    held = load_tensors(path)
    try:
        told = checked(_Told, held.description)
    except (ValueError, RecursionError) as error:
        raise damaged_description(path, error) from error
    if told.record.epoch != epoch:
        raise CheckpointError(f"is of epoch {told.record.epoch}", where=str(path), hint=_HINT)
    probabilities = held.tensors.get(_PROBABILITIES)
    return ResumeState(
        told.record,
        told.seconds,
        told.notices,
        {name.removeprefix(_OPTIMIZER): held.tensors[name] for name in held.tensors if name.startswith(_OPTIMIZER)},
        None if probabilities is None else probabilities.to(torch.float64).numpy(),
    )


def remove_states(run: RunDirectory, *, but: int) -> None:
    """Remove the states of all epochs but one; 0 removes all."""
    for path in run.checkpoints.glob("resume.*.safetensors"):
        if path != run.resume(but):
            path.unlink(missing_ok=True)
