"""Wires scored images to those that a run was trained on and that chose its epoch: they are told by content."""

from __future__ import annotations

from pathlib import Path

from ftcli.commands.scored_images import ScoredImages
from ftcli.data.dataset import TRAIN, VAL
from ftcli.evaluation.seen import Seen, count_among
from ftcli.recipe import Recipe
from ftcli.run.dataset_file import read_train_hashes
from ftcli.run.directory import RunDirectory
from ftcli.run.predictions_file import read_predictions


def seen_images(path: Path, recipe: Recipe, images: ScoredImages, *, own_split: bool) -> Seen:
    """Count the scored images that the network at `path`, a run or a checkpoint, has met in training.

    The run's own files tell, whatever has become of its dataset. Of a checkpoint that stands alone no more is known
    than the name of the split, where `own_split` says that it is one of the recipe's dataset. Raises
    RunDirectoryError where the run's files are damaged.
    """
    count, sha256 = len(images.samples), [fact.sha256 for fact in images.facts]
    run = RunDirectory(path if path.is_dir() else path.parent.parent)
    if path.is_dir() or run.train_images.exists():
        trained = count_among(read_train_hashes(run), sha256)
        chose = count_among(_val_hashes(run), sha256) if recipe.chooses_epoch else 0
        return Seen(count, trained, chose)
    whole = images.split if own_split else None
    chose_epoch = 0 if not recipe.chooses_epoch else count if whole == VAL else None
    return Seen(count, count if whole == TRAIN else None, chose_epoch)


def _val_hashes(run: RunDirectory) -> frozenset[str] | None:
    """Return the hashes of the images that chose the best epoch; None before there is one."""
    predictions = run.predictions(VAL)
    if not predictions.is_file() and not run.summary.is_file():
        return None
    run.check_unchanged(f"{predictions.parent.name}/{predictions.name}")
    return frozenset(read_predictions(predictions).sha256)
