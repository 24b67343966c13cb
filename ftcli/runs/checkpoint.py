"""Owns checkpoints: weights with everything needed to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ftcli.errors import CheckpointError
from ftcli.records import InputSpec, checked
from ftcli.runs.directory import RunDirectory, check_one_run
from ftcli.runs.tensor_file import damaged_description, describes_itself, load_tensors, save_tensors


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
