"""Wires `ftcli plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.prepare import Preparation, inspect_dataset, prepare
from ftcli.recipe.loading import load_recipe, naming_places

if TYPE_CHECKING:  # torch, which a wrong recipe must not wait for
    from ftcli.engine.forecast import Forecast


@dataclass(frozen=True)
class PlanResult:
    """What would be trained, without training it."""

    preparation: Preparation
    forecasts: tuple[Forecast, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan's JSON."""
        preparation = self.preparation
        value = preparation.plan.to_json(preparation.parameters)
        for group in value["groups"]:
            group["batchnorm"] = preparation.batchnorm[group["name"]]
        for phase, forecast in zip(value["phases"], self.forecasts, strict=True):
            phase.update(forecast.to_json())
        return {**value, "notices": list(preparation.notices)}


def plan_recipe(config: Path, overrides: Sequence[str] = ()) -> PlanResult:
    """Return the plan of a recipe with a forecast of each phase, for which a few images are tried on this machine."""
    recipe = load_recipe(config, overrides)
    with naming_places(config, overrides):
        preparation = prepare(recipe)
    from ftcli.commands.networks import data_settings
    from ftcli.engine.device import pick_compute
    from ftcli.engine.forecast import forecast_phases
    from ftcli.model.network import build_network

    recipe = preparation.recipe
    dataset = preparation.dataset
    if recipe.data.on_bad_image == "skip":
        # Images that will be left out are none to forecast from. Else, `train` names what it refuses.
        inspected = inspect_dataset(recipe, dataset)
        dataset = inspected.dataset
        preparation = replace(preparation, notices=(*preparation.notices, *inspected.notices))
    compute = pick_compute(recipe.device, recipe.precision)
    network = build_network(
        recipe.model.name, "none", classes=dataset.classes, seed=recipe.seed, image_size=recipe.data.image_size
    )
    compute.place(network.module)
    forecasts = forecast_phases(
        network, preparation.plan, data_settings(recipe), samples=dataset.splits, compute=compute
    )
    return PlanResult(preparation, forecasts)
