"""Wires `ftcli eval`: a checkpoint and images to an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.inspecting import inspect_dataset, readable_samples, skipped_notices
from ftcli.commands.preparing import open_recipe_dataset
from ftcli.data.dataset import Dataset, Sample, open_scored_folder
from ftcli.data.inspection import BadImage, ImageFacts
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
    skipped: tuple[BadImage, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of images left out."""
        return skipped_notices(self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Return what `eval --json` prints."""
        return {
            **self.evaluation.to_json(),
            "checkpoint": str(self.checkpoint),
            "source": self.source,
            "skipped": [each.to_json() for each in self.skipped],
        }


@dataclass(frozen=True)
class _Images:
    """The images to score, what each holds, a name for them all, and those that the recipe has left out."""

    samples: tuple[Sample, ...]
    facts: tuple[ImageFacts, ...]
    source: str
    skipped: tuple[BadImage, ...]


def evaluate_checkpoint(path: Path, scoring: Scoring) -> EvalResult:
    """Score every image once with the checkpoint's own preprocessing. Raises CheckpointError or DataError."""
    from ftcli.run.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    recipe = recipe_from(checkpoint.info.recipe, source=str(checkpoint.path))
    images = _images(checkpoint, recipe, scoring)
    predictions = _predict(checkpoint, recipe, images, scoring)
    if scoring.predictions is not None:
        scoring.predictions.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(scoring.predictions, predictions)
    chose_epoch = scoring.data is None and (scoring.split or "val") == "val" and not recipe.uses_lbfgs
    return EvalResult(checkpoint.path, images.source, chose_epoch, evaluate(predictions), images.skipped)


def _images(checkpoint: Checkpoint, recipe: Recipe, scoring: Scoring) -> _Images:
    """Find the images and look at each; they are labelled by the checkpoint's classes."""
    if scoring.data is not None:
        found = open_scored_folder(scoring.data, classes=checkpoint.info.classes, split=scoring.split)
        samples, survey = readable_samples(recipe, found)
        return _Images(samples, survey.facts, str(scoring.data), survey.bad)
    split = scoring.split or "val"
    dataset = _own_dataset(checkpoint, recipe, split)
    source = f"{split} of {dataset.root}"
    if recipe.data.on_bad_image == "skip" and dataset.val_fraction is not None and split in {"train", "val"}:
        # The cut depends on which images were there.
        inspected = inspect_dataset(recipe, dataset)
        return _Images(inspected.dataset.splits[split], inspected.facts[split], source, inspected.skipped)
    samples, survey = readable_samples(recipe, dataset.splits[split])
    return _Images(samples, survey.facts, source, survey.bad)


def _own_dataset(checkpoint: Checkpoint, recipe: Recipe, split: str) -> Dataset:
    """Open the dataset that the checkpoint was trained on, which must still have its classes and the split."""
    classes = checkpoint.info.classes
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
    return dataset


def _predict(checkpoint: Checkpoint, recipe: Recipe, images: _Images, scoring: Scoring) -> Predictions:
    from ftcli.engine.device import pick_compute
    from ftcli.engine.sources import score_images
    from ftcli.model.backbones import restore_network

    info = checkpoint.info
    compute = pick_compute(scoring.device or recipe.device, recipe.precision)
    network = restore_network(info.model, classes=info.classes, spec=info.spec, state_dict=checkpoint.state_dict)
    compute.place(network.module)
    labels, probabilities = score_images(
        network, images.samples, compute, batch_size=scoring.batch_size or recipe.data.batch_size
    )
    return Predictions(
        classes=info.classes,
        paths=tuple(fact.name for fact in images.facts),
        sha256=tuple(fact.sha256 for fact in images.facts),
        labels=labels,
        probabilities=probabilities,
    )
