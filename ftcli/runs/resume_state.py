"""`resume.<epoch>.safetensors`: what an exact resume needs besides the last checkpoint.

The order of writing makes a crash harmless: first this file, which holds everything that other files will contain
about the epoch; then the last checkpoint, which makes the epoch count; then the other files. A resume reads the
epoch of the last checkpoint, finds the matching file, and restores the other files from the two.
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
_HINT = "This run cannot be resumed. Start a new one from its best weights: set model.weights to this run."


@dataclass(frozen=True)
class _Description:
    """The part of a state that is not tensors."""

    record: EpochRecord
    seconds: float
    notices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ResumeState(_Description):
    """The state after an epoch, as far as no other file has it yet.

    `seconds` is the wall time of the run so far and `optimizer` the optimizer's state. `val_probabilities`
    (N, classes) float64 are those of a best epoch; None after any other epoch. They take half the space where single
    precision holds them exactly.
    """

    optimizer: Mapping[str, Tensor]
    val_probabilities: NDArray[np.float64] | None


def save_state(run: RunDirectory, state: ResumeState) -> None:
    """Write the state of an epoch, and keep those of other epochs. Raises RunError."""
    tensors = {f"{_OPTIMIZER}{name}": tensor for name, tensor in state.optimizer.items()}
    if state.val_probabilities is not None:
        exact = torch.from_numpy(state.val_probabilities)
        tensors[_PROBABILITIES] = single if torch.equal((single := exact.float()).double(), exact) else exact
    description = _Description(state.record, state.seconds, state.notices)
    save_tensors(run.resume(state.record.epoch), tensors, asdict(description))


def load_state(run: RunDirectory, epoch: int) -> ResumeState:
    """Read the state of an epoch; runs no code from it. Raises CheckpointError, naming the file."""
    path = run.resume(epoch)
    if not path.is_file():
        raise CheckpointError(f"is missing, but last.safetensors has epoch {epoch}", where=str(path), hint=_HINT)
    written, tensors = load_tensors(path)
    try:
        description = checked(_Description, written)
    except (ValueError, RecursionError) as error:
        raise damaged_description(path, error) from error
    if description.record.epoch != epoch:
        raise CheckpointError(f"has epoch {description.record.epoch}", where=str(path), hint=_HINT)
    probabilities = tensors.get(_PROBABILITIES)
    return ResumeState(
        description.record,
        description.seconds,
        description.notices,
        {name.removeprefix(_OPTIMIZER): tensors[name] for name in tensors if name.startswith(_OPTIMIZER)},
        None if probabilities is None else probabilities.to(torch.float64).numpy(),
    )


def remove_states(run: RunDirectory, *, but: int) -> None:
    """Remove the states of all epochs except one; 0 removes all."""
    for path in run.checkpoints.glob("resume.*.safetensors"):
        if path != run.resume(but):
            path.unlink(missing_ok=True)
