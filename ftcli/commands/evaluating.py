"""Wires `ftcli eval`: a checkpoint and images to an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.data.class_folders import Sample
from ftcli.data.dataset import open_scored_folder
from ftcli.errors import DatasetError
from ftcli.evaluation.metrics import Evaluation, evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.recipe import Recipe
from ftcli.recipe_loading import recipe_from
from ftcli.run.predictions_file import write_predictions

if TYPE_CHECKING:
    from ftcli.run.checkpoint import Checkpoint


@dataclass(frozen=True)
class Scoring:
    """What to score and how: a split of the recipe's dataset, or of `data`; None means what the recipe says."""

    data: Path | None = None
    split: str | None = None
    batch_size: int | None = None
    device: str | None = None
    predictions: Path | None = None


@dataclass(frozen=True)
class EvalResult:
    """How a checkpoint does on some images."""

    checkpoint: Path
    source: str
    chose_epoch: bool
    evaluation: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Return what `eval --json` prints."""
        return {**self.evaluation.to_json(), "checkpoint": str(self.checkpoint), "source": self.source}


def evaluate_checkpoint(path: Path, scoring: Scoring) -> EvalResult:
    """Score every image once with the checkpoint's own preprocessing. Raises CheckpointError or DataError."""
    from ftcli.run.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    recipe = recipe_from(checkpoint.info.recipe, source=str(checkpoint.path))
    samples, source = _samples(checkpoint, recipe, scoring)
    predictions = _predict(checkpoint, recipe, samples, scoring)
    if scoring.predictions is not None:
        scoring.predictions.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(scoring.predictions, predictions)
    chose_epoch = scoring.data is None and (scoring.split or "val") == "val" and not recipe.uses_lbfgs
    return EvalResult(checkpoint.path, source, chose_epoch, evaluate(predictions))


def _samples(checkpoint: Checkpoint, recipe: Recipe, scoring: Scoring) -> tuple[Sequence[Sample], str]:
    """Return the images to score and a name for them, labelled by the checkpoint's classes."""
    classes = checkpoint.info.classes
    if scoring.data is not None:
        samples = open_scored_folder(scoring.data, classes=classes, split=scoring.split)
        return samples, str(scoring.data)
    from ftcli.commands.preparing import open_recipe_dataset

    split = scoring.split or "val"
    dataset = open_recipe_dataset(recipe)
    if dataset.classes != classes:
        raise DatasetError(
            f"has the classes {', '.join(dataset.classes)}, but the checkpoint has {', '.join(classes)}",
            where=str(dataset.root),
            hint="Pass the images that belong to the checkpoint with --data.",
        )
    if split not in dataset.splits:
        there = ", ".join(dataset.splits)
        raise DatasetError(f"has no {split} split, only {there}", where=str(dataset.root), hint="Choose with --split.")
    return dataset.splits[split], f"{split} of {dataset.root}"


def _predict(checkpoint: Checkpoint, recipe: Recipe, samples: Sequence[Sample], scoring: Scoring) -> Predictions:
    from ftcli.data.cores import available_cores
    from ftcli.data.inspection import inspect_images
    from ftcli.engine.device import pick_compute
    from ftcli.engine.sources import score_images
    from ftcli.model.backbones import restore_network

    info = checkpoint.info
    compute = pick_compute(scoring.device or recipe.device, recipe.precision)
    network = restore_network(info.model, classes=info.classes, spec=info.spec, state_dict=checkpoint.state_dict)
    compute.place(network.module)
    facts = inspect_images(samples, workers=available_cores())
    labels, probabilities = score_images(
        network, samples, compute, batch_size=scoring.batch_size or recipe.data.batch_size
    )
    return Predictions(
        classes=info.classes,
        paths=tuple(fact.name for fact in facts),
        sha256=tuple(fact.sha256 for fact in facts),
        labels=labels,
        probabilities=probabilities,
    )
