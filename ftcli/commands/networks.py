"""From a recipe to what the engine works with: a network with its first weights, and plain settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftcli.engine.extraction import DataSettings
from ftcli.errors import ModelError
from ftcli.model.network import Network, build_network
from ftcli.model.weights import SourceWeights
from ftcli.recipe.keys import Recipe
from ftcli.runs.checkpoint import is_checkpoint, load_checkpoint
from ftcli.runs.create import put_back


def build_recipe_network(recipe: Recipe, classes: Sequence[str]) -> Network:
    """Build a recipe's network with its first weights: the library's, none, a file's, or those of another run.

    Raises ModelError or CheckpointError for weights that do not fit, WeightsUnavailableError when offline.
    """
    return build_network(
        recipe.model.name,
        recipe.model.weights,
        classes=classes,
        seed=recipe.seed,
        image_size=recipe.data.image_size,
        source=_source(recipe),
    )


def data_settings(recipe: Recipe) -> DataSettings:
    """Return how a recipe's images reach the network."""
    data = recipe.data
    return DataSettings(data.batch_size, data.augment, data.views, data.cache, data.workers, recipe.seed)


def _source(recipe: Recipe) -> SourceWeights | None:
    """Return the weights of another run, where `model.weights` names one."""
    path = Path(recipe.model.weights)
    if recipe.model.weights in {"default", "none"}:
        return None
    put_back(path)
    if not is_checkpoint(path):
        return None
    checkpoint = load_checkpoint(path)
    if checkpoint.info.model != recipe.model.name:
        raise ModelError(
            f"holds a {checkpoint.info.model}, not a {recipe.model.name}",
            where=str(checkpoint.path),
            hint=f"Set model.name to {checkpoint.info.model}, or model.weights to a run of {recipe.model.name}.",
        )
    return SourceWeights(
        state_dict=checkpoint.state_dict,
        classes=checkpoint.info.classes,
        spec=checkpoint.info.spec,
        origin=str(checkpoint.path),
    )
