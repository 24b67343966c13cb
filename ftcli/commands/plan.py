"""`ftcli plan`: a recipe to its plan, with a forecast of each phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.prepare import Prepared, data_settings, inspect_dataset, prepare, with_final_cut
from ftcli.data.checks.findings import skipped_notices
from ftcli.recipe.loading import naming_places, parse_recipe, read_document

if TYPE_CHECKING:  # torch, which a wrong recipe must not wait for
    from ftcli.engine.forecast import Forecast


@dataclass(frozen=True)
class PlanResult:
    """What would be trained, without training it; `download` names the weights that are not on this machine."""

    prepared: Prepared
    forecasts: tuple[Forecast, ...]
    download: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plan's JSON."""
        prepared = self.prepared
        value = prepared.plan.to_json(prepared.parameters)
        for group in value["groups"]:
            group["batchnorm"] = prepared.batchnorm[group["name"]]
        for phase, forecast in zip(value["phases"], self.forecasts, strict=True):
            phase.update(forecast.to_json())
        return {**value, "download": self.download, "notices": list(prepared.notices)}


def plan(source: Path, overrides: Sequence[str] = ()) -> PlanResult:
    """Return the plan of a recipe with a forecast of each phase, for which a few images are timed on this machine.

    They pass through everything that a training does before its first epoch, including the cut and a checkpoint in
    memory, so that what cannot be trained is refused here.
    """
    document = read_document(source)
    recipe = parse_recipe(document, overrides)
    with naming_places(document, overrides):
        prepared = prepare(recipe)
    from ftcli.engine.device import pick_compute
    from ftcli.engine.forecast import forecast_phases
    from ftcli.model.network import build_network, check_image_size, to_download
    from ftcli.runs.checkpoint import check_saving

    recipe, dataset = prepared.recipe, prepared.dataset
    if recipe.data.on_bad_image == "skip":  # else `train` names the images that it refuses
        dataset, _, skipped = inspect_dataset(recipe, dataset)
        notices = (*prepared.notices, *skipped_notices(skipped))
        prepared = replace(prepared, dataset=dataset, skipped=skipped, notices=notices)
    else:
        dataset = with_final_cut(recipe, dataset)
        prepared = replace(prepared, dataset=dataset)
    compute = pick_compute(recipe.device, recipe.precision)
    network = build_network(
        recipe.model.name, "none", classes=dataset.classes, seed=recipe.seed, image_size=recipe.data.image_size
    )
    check_image_size(network)
    compute.place(network.module)
    check_saving(network)
    forecasts = forecast_phases(network, prepared.plan, data_settings(recipe), samples=dataset.splits, compute=compute)
    download = to_download(recipe.model.name) if recipe.model.weights == "default" else None
    return PlanResult(prepared, forecasts, download)
