"""Wires `ftcli eval`: a checkpoint and images to an evaluation.

Wires a checkpoint to images: a split of its own dataset, or a folder, labelled by the checkpoint's classes.

Wires scored images to those that a run was trained on and that chose its epoch: they are told by content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.outputs import check_output, make_folder
from ftcli.commands.prepare import directory_where_began, inspect_dataset, open_recipe_dataset, readable_samples
from ftcli.data.checks.findings import skipped_notices
from ftcli.data.dataset import (
    SPLIT_FOLDERS,
    TRAIN,
    VAL,
    VAL_FOLDERS,
    Dataset,
    Sample,
    open_scored_folder,
)
from ftcli.data.inspection import BadImage, ImageFacts
from ftcli.errors import DatasetError, RunDirectoryError
from ftcli.evaluation.abstention import Abstention, abstention
from ftcli.evaluation.gates import check_expectations, unchecked
from ftcli.evaluation.metrics import Evaluation, evaluate
from ftcli.evaluation.predictions import Predictions, Seen, count_among
from ftcli.evaluation.ranking import with_ranking
from ftcli.evaluation.temperature import Calibration, calibrate
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import recipe_from
from ftcli.records import Gate
from ftcli.runs.create import put_back
from ftcli.runs.dataset_file import read_train_hashes
from ftcli.runs.directory import RunDirectory
from ftcli.runs.predictions_file import read_predictions, write_predictions

if TYPE_CHECKING:
    from ftcli.runs.checkpoint import Checkpoint


@dataclass(frozen=True)
class Scoring:
    """What to score and how: a split of the recipe's dataset, or of `data`; None means what the recipe says.

    `calibrate` names the split that a temperature is fitted on, `target_precision` the share of answers that must be
    right.
    """

    data: Path | None = None
    split: str | None = None
    batch_size: int | None = None
    device: str | None = None
    predictions: Path | None = None
    calibrate: str | None = None
    target_precision: float | None = None


@dataclass(frozen=True)
class EvalResult:
    """How a checkpoint does on some images, and whether that meets what its recipe expects.

    `unchecked` names the expectations that speak of other images; `unfinished` is the run that the checkpoint belongs
    to, where its training has not ended.
    """

    checkpoint: Path
    source: str
    seen: Seen
    evaluation: Evaluation
    calibration: Calibration | None = None
    abstention: Abstention | None = None
    gates: tuple[Gate, ...] = ()
    unchecked: tuple[str, ...] = ()
    skipped: tuple[BadImage, ...] = ()
    unfinished: Path | None = None

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
            "unfinished": [] if self.unfinished is None else [str(self.unfinished)],
            "seen": self.seen.to_json(),
            "skipped": [each.to_json() for each in self.skipped],
            "temperature": self.calibration and self.calibration.to_json(),
            "abstention": self.abstention and self.abstention.to_json(),
            "gates": [gate.to_json() for gate in self.gates],
            "unchecked": list(self.unchecked),
        }


@dataclass(frozen=True, eq=False)
class _Subject:
    """A checkpoint, its recipe, and how it is to be scored."""

    checkpoint: Checkpoint
    recipe: Recipe
    scoring: Scoring


def evaluate_checkpoint(path: Path, scoring: Scoring) -> EvalResult:
    """Score every image once with the checkpoint's own preprocessing.

    Raises CheckpointError, DataError, or UsageError for a file that may not be written.
    """
    from ftcli.runs.checkpoint import load_checkpoint

    put_back(path)
    if scoring.predictions is not None:
        check_output(scoring.predictions)
    checkpoint = load_checkpoint(path)
    recipe = recipe_from(checkpoint.info.recipe, source=str(checkpoint.path))
    subject = _Subject(checkpoint, recipe, scoring)
    images = _images(subject)
    fit = None if scoring.calibrate is None else _fit_images(subject, scoring.calibrate)
    seen = seen_images(path, recipe, images, own_split=scoring.data is None)
    predictions = _predict(subject, images)
    if scoring.predictions is not None:
        make_folder(scoring.predictions)
        write_predictions(scoring.predictions, predictions)
    evaluation, target = with_ranking(evaluate(predictions), predictions), scoring.target_precision
    return EvalResult(
        checkpoint.path,
        images.source,
        seen=seen,
        evaluation=evaluation,
        calibration=None if fit is None else _calibrate(subject, fit, predictions),
        abstention=None if target is None else abstention(predictions, target=target),
        gates=check_expectations(recipe.expect, evaluation, split=images.split, run=str(checkpoint.path)),
        unchecked=unchecked(recipe.expect, split=images.split),
        skipped=images.skipped,
        unfinished=path if path.is_dir() and not RunDirectory(path).summary.is_file() else None,
    )


def _images(subject: _Subject) -> ScoredImages:
    scoring = subject.scoring
    if scoring.data is not None:
        return folder_images(subject.checkpoint, subject.recipe, scoring.data, scoring.split)
    return split_images(subject.checkpoint, subject.recipe, scoring.split or VAL)


def _fit_images(subject: _Subject, split: str) -> ScoredImages:
    """Return a split to fit on: of the root that is scored, or else of the recipe's dataset."""
    data = subject.scoring.data
    if data is not None and has_splits(subject.checkpoint, data):
        return folder_images(subject.checkpoint, subject.recipe, data, split)
    return split_images(subject.checkpoint, subject.recipe, split)


def _calibrate(subject: _Subject, fit: ScoredImages, scored: Predictions) -> Calibration:
    return calibrate(_predict(subject, fit), scored, source=fit.source, trained_on=fit.split == TRAIN)


def _predict(subject: _Subject, images: ScoredImages) -> Predictions:
    from ftcli.data.loader import Images
    from ftcli.engine.device import pick_compute
    from ftcli.engine.sources import score_images
    from ftcli.model.network import restore_network

    info, recipe, scoring = subject.checkpoint.info, subject.recipe, subject.scoring
    compute = pick_compute(scoring.device or recipe.device, recipe.precision)
    network = restore_network(
        info.model,
        classes=info.classes,
        spec=info.spec,
        state_dict=subject.checkpoint.state_dict,
        origin=str(subject.checkpoint.path),
    )
    compute.place(network.module)
    sha256s = tuple(fact.sha256 for fact in images.facts)
    labels, probabilities = score_images(
        network, Images(images.samples, sha256s), compute, batch_size=scoring.batch_size or recipe.data.batch_size
    )
    return Predictions(
        classes=info.classes,
        paths=tuple(fact.name for fact in images.facts),
        sha256=sha256s,
        labels=labels,
        probabilities=probabilities,
    )


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
        dataset, facts, skipped = inspect_dataset(recipe, dataset)
        return ScoredImages(dataset.splits[split], facts[split], source, split, skipped)
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
    run = RunDirectory(checkpoint.path.resolve().parent.parent)
    dataset = open_recipe_dataset(recipe, began=directory_where_began(run))
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
