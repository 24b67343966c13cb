"""Wires scored images to those that a checkpoint was trained on and that chose its epoch: they are told by content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftcli.commands.preparing import DATA_DIR, open_recipe_dataset
from ftcli.commands.scored_images import ScoredImages
from ftcli.data.builtin import DIGITS
from ftcli.data.cores import available_cores
from ftcli.data.dataset import TRAIN, VAL, Sample
from ftcli.data.inspection import hash_images
from ftcli.errors import DatasetError
from ftcli.evaluation.seen import Seen, count_among
from ftcli.recipe import Recipe
from ftcli.run.dataset_file import read_dataset_json, read_skipped
from ftcli.run.directory import RunDirectory
from ftcli.run.predictions_file import read_predictions


def seen_images(path: Path, recipe: Recipe, images: ScoredImages, *, own_split: bool) -> Seen:
    """Count the scored images that the network of a run or a checkpoint has met in training.

    `own_split` says that they are a split of the recipe's dataset. Others are compared with the predictions of the run,
    if `path` is one, and with the recipe's dataset, if it is there. Raises RunDirectoryError where the run's
    files on them are damaged.
    """
    count = len(images.samples)
    sha256 = [fact.sha256 for fact in images.facts]
    whole = images.split if own_split else None
    splits = _splits(path, recipe)
    trained = count if whole == TRAIN else count_among(_contents(splits.get(TRAIN), images.samples), sha256)
    if not recipe.chooses_epoch:
        return Seen(count, trained, 0)
    if whole == VAL:
        return Seen(count, trained, count)
    predictions = RunDirectory(path).predictions(VAL)
    if predictions.is_file():
        chose = count_among(set(read_predictions(predictions).sha256), sha256)
    else:
        chose = count_among(_contents(splits.get(VAL), images.samples), sha256)
    return Seen(count, trained, chose)


def _splits(path: Path, recipe: Recipe) -> dict[str, tuple[Sample, ...]]:
    """Return the splits of the recipe's dataset as training had them; none where it is not here, or not as it was."""
    data, run, left_out = recipe.data, RunDirectory(path), set[str]()
    if data.root == DIGITS and not (DATA_DIR / DIGITS).is_dir():
        return {}  # to open it would be to write it
    if data.on_bad_image == "skip" and run.dataset.is_file():
        left_out = {each.path for each in read_skipped(run, read_dataset_json(run))}
    elif data.on_bad_image == "skip" and data.val_fraction is not None:
        return {}  # which images were bad decided over the cut, and a checkpoint does not list them
    try:
        return dict(open_recipe_dataset(recipe, left_out=left_out).splits)
    except DatasetError:  # `eval` needs the images that are scored, and no others
        return {}


def _contents(known: Sequence[Sample] | None, scored: Sequence[Sample]) -> set[str] | None:
    """Return the hashes of those images that may be scored ones: files of the same size, so that few are read."""
    if known is None:
        return None
    sizes = {_size(sample) for sample in scored}
    alike = [sample for sample in known if _size(sample) in sizes]
    return {sha256 for sha256 in hash_images(alike, workers=available_cores()) if sha256 is not None}


def _size(sample: Sample) -> int:
    """Return the size of a file in bytes, -1 where it has gone."""
    try:
        return sample.path.stat().st_size
    except OSError:
        return -1
