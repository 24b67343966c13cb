"""Wires scored images to those that a run was trained on and that chose its epoch: they are told by content."""

from __future__ import annotations

from pathlib import Path

from ftcli.commands.scored_images import ScoredImages
from ftcli.data.dataset import TRAIN, VAL
from ftcli.errors import RunDirectoryError
from ftcli.evaluation.seen import Seen, count_among
from ftcli.recipe.keys import Recipe
from ftcli.runs.dataset_file import read_train_hashes
from ftcli.runs.directory import RunDirectory
from ftcli.runs.predictions_file import read_predictions

_Hashes = frozenset[str] | None


def seen_images(path: Path, recipe: Recipe, images: ScoredImages, *, own_split: bool) -> Seen:
    """Count the scored images that the network at `path`, a run or a checkpoint, has met in training.

    The run's own files tell, whatever has become of its dataset. Where there are none, as for a checkpoint that was
    taken out of its run, no more is known than the name of the split, if `own_split` says that it is one of the
    recipe's dataset. Raises RunDirectoryError where `path` is a run whose files are damaged.
    """
    trained_on, chose_epoch = _known(path)
    count, sha256 = len(images.samples), [fact.sha256 for fact in images.facts]
    whole = images.split if own_split else None
    trained = count if trained_on is None and whole == TRAIN else count_among(trained_on, sha256)
    if not recipe.chooses_epoch:
        return Seen(count, trained, 0)
    return Seen(count, trained, count if chose_epoch is None and whole == VAL else count_among(chose_epoch, sha256))


def _known(path: Path) -> tuple[_Hashes, _Hashes]:
    """Return the hashes of what a run was trained on and of what chose its epoch; None for what nobody knows."""
    if path.is_dir():
        return read_train_hashes(RunDirectory(path)), _val_hashes(RunDirectory(path))
    file = path.resolve()
    run = RunDirectory(file.parent.parent)
    if file not in {run.best, run.last}:
        return None, None
    try:
        return read_train_hashes(run), _val_hashes(run)
    except RunDirectoryError:  # a checkpoint is scored without its run
        return None, None


def _val_hashes(run: RunDirectory) -> _Hashes:
    """Return the hashes of the images that chose the best epoch; None before there is one."""
    predictions = run.predictions(VAL)
    if not predictions.is_file() and not run.summary.is_file():
        return None
    run.check_unchanged(f"{predictions.parent.name}/{predictions.name}")
    return frozenset(read_predictions(predictions).sha256)
