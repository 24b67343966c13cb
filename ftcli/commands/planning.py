"""Wires `ftcli plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.commands.preparing import Preparation, prepare


@dataclass(frozen=True)
class PlanResult:
    """What would be trained, without training it."""

    preparation: Preparation

    def to_json(self) -> dict[str, Any]:
        """Return the plan's JSON."""
        preparation = self.preparation
        value = preparation.plan.to_json(preparation.parameters)
        for group in value["groups"]:
            group["batchnorm"] = preparation.batchnorm[group["name"]]
        return {**value, "notices": list(preparation.notices)}


def plan_recipe(config: Path, overrides: Sequence[str] = ()) -> PlanResult:
    """Return the plan of a recipe."""
    return PlanResult(prepare(config, overrides))
