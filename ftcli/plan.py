"""The plan: ordered phases in which every group is frozen or has a learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ftcli.records import SCHEMA, checked


@dataclass(frozen=True)
class Phase:
    """For a number of epochs, every group at a learning rate or (None) frozen.

    `patience` is the number of epochs without a better monitor after which the phase ends, once a cosine has annealed
    its rates; None means never.
    With the solver lbfgs, the head is fitted to convergence in the phase's one epoch.
    """

    name: str
    epochs: int
    lr: Mapping[str, float | None]
    patience: int | None = None
    solver: Literal["sgd", "lbfgs"] = "sgd"

    @property
    def trainable(self) -> tuple[str, ...]:
        """The groups that train, from the input to the head."""
        return tuple(group for group, rate in self.lr.items() if rate is not None)

    @property
    def frozen(self) -> tuple[str, ...]:
        """The groups that are frozen, from the input to the head."""
        return tuple(group for group, rate in self.lr.items() if rate is None)


@dataclass(frozen=True)
class Plan:
    """The ordered phases of one run over the groups of one network."""

    strategy: str
    groups: tuple[str, ...]
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        for phase in self.phases:
            assert tuple(phase.lr) == self.groups, f"phase {phase.name} does not cover every group in order"
            assert phase.epochs >= 1, f"phase {phase.name} has no epochs"
            assert phase.trainable, f"phase {phase.name} trains nothing"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote, but for the numbers of parameters. Raises ValueError for anything else."""
        groups = [group.get("name") for group in value.get("groups", [])]
        return checked(cls, {**value, "groups": groups})

    @property
    def epochs(self) -> int:
        """The epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)

    def to_json(self, parameters: Mapping[str, int]) -> dict[str, Any]:
        """Return plan.json; `parameters` maps each group to its number of parameters."""
        return {
            "schema": SCHEMA,
            "strategy": self.strategy,
            "groups": [{"name": group, "parameters": parameters[group]} for group in self.groups],
            "phases": [
                {"name": p.name, "epochs": p.epochs, "patience": p.patience, "solver": p.solver, "lr": dict(p.lr)}
                for p in self.phases
            ],
        }
