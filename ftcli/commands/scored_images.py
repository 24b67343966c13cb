"""Wires a checkpoint to images: a split of its own dataset, or a folder, labelled by the checkpoint's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftcli.commands.inspecting import inspect_dataset, readable_samples
from ftcli.commands.prepare import open_recipe_dataset
from ftcli.data.dataset import SPLIT_FOLDERS, TRAIN, VAL, VAL_FOLDERS, Dataset, Sample, open_scored_folder
from ftcli.data.inspection import BadImage, ImageFacts
from ftcli.errors import DatasetError
from ftcli.recipe.keys import Recipe

if TYPE_CHECKING:
    from ftcli.runs.checkpoint import Checkpoint


@dataclass(frozen=True)
class ScoredImages:
    """Images, what each holds, a name for them all, and those that the recipe has left out.

    `split` is that of the images, None where they are none.
    """

    samples: tuple[Sample, ...]
    facts: tuple[ImageFacts, ...]
    source: str
    split: str | None
    skipped: tuple[BadImage, ...]


def split_images(checkpoint: Checkpoint, recipe: Recipe, split: str) -> ScoredImages:
    """Find a split of the dataset that the checkpoint was trained on, and look at each image."""
    dataset = _own_dataset(checkpoint, recipe, split)
    source = f"{split} of {dataset.root}"
    if recipe.data.on_bad_image == "skip" and dataset.val_fraction is not None and split in {TRAIN, VAL}:
        # The cut depends on which images were there.
        inspected = inspect_dataset(recipe, dataset)
        return ScoredImages(inspected.dataset.splits[split], inspected.facts[split], source, split, inspected.skipped)
    samples, survey = readable_samples(recipe, dataset.splits[split])
    return ScoredImages(samples, survey.facts, source, split, survey.bad)


def folder_images(checkpoint: Checkpoint, recipe: Recipe, folder: Path, split: str | None) -> ScoredImages:
    """Find the images of a folder of classes, or of a split of a root, and look at each."""
    classes = checkpoint.info.classes
    found = open_scored_folder(folder, classes=classes, split=split)
    # In a root with splits, names start with the split's folder; else the folder itself may be one.
    within = _split_folder(found, classes)
    samples, survey = readable_samples(recipe, found)
    source = str(folder) if within is None else f"{within} of {folder}"
    return ScoredImages(samples, survey.facts, source, _split_called(within or folder.resolve().name), survey.bad)


def has_splits(checkpoint: Checkpoint, folder: Path) -> bool:
    """Tell whether a folder is a root with splits, and not a folder of classes."""
    classes = checkpoint.info.classes
    return _split_folder(open_scored_folder(folder, classes=classes), classes) is not None


def _split_folder(samples: Sequence[Sample], classes: Sequence[str]) -> str | None:
    first = samples[0].name.partition("/")[0]
    return first if first in SPLIT_FOLDERS and first not in classes else None


def _split_called(folder: str) -> str | None:
    if folder in VAL_FOLDERS:
        return VAL
    return folder if folder in SPLIT_FOLDERS else None


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
