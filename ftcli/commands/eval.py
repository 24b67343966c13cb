"""`ftcli eval`: score images with a checkpoint, and judge the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ftcli.commands.outputs import check_output, make_folder
from ftcli.commands.prepare import (
    directory_where_began,
    inspect_dataset,
    open_recipe_dataset,
    readable_samples,
    with_final_cut,
)
from ftcli.commands.target import Target, open_target
from ftcli.data.checks.copies import Earlier
from ftcli.data.checks.findings import skipped_notices
from ftcli.data.dataset import SPLIT_FOLDERS, TRAIN, VAL, VAL_FOLDERS, Sample, open_scored_folder
from ftcli.data.inspection import BadImage, ImageFacts
from ftcli.errors import DatasetError, RunDirectoryError
from ftcli.evaluation.abstention import Abstention, abstention
from ftcli.evaluation.evaluate import Evaluation, evaluate
from ftcli.evaluation.gates import check_expectations, unchecked
from ftcli.evaluation.predictions import Predictions, Seen, count_among
from ftcli.evaluation.ranking import with_ranking
from ftcli.evaluation.temperature import Calibration, calibrate
from ftcli.recipe.keys import Recipe
from ftcli.records import Gate
from ftcli.runs.dataset_file import read_earlier, read_train_hashes, run_of
from ftcli.runs.directory import RunDirectory
from ftcli.runs.predictions_file import read_predictions, write_predictions

if TYPE_CHECKING:
    from ftcli.data.loader import Images

_Hashes = frozenset[str] | None


@dataclass(frozen=True)
class Scoring:
    """What to score and how: a split of the recipe's dataset, or of `data`; None means what the recipe says.

    `calibrate` names the split that a temperature is fitted on, `target_precision` is the share of answers that must be
    right. With `ranking`, ROC-AUC and average precision are computed however long they take.
    """

    data: Path | None = None
    split: str | None = None
    batch_size: int | None = None
    device: str | None = None
    predictions: Path | None = None
    calibrate: str | None = None
    target_precision: float | None = None
    ranking: bool = False


@dataclass(frozen=True)
class EvalResult:
    """How a checkpoint does on some images, and whether that meets what its recipe expects.

    `unchecked` names the expectations about other images; `unfinished` is the run that the checkpoint belongs to, where
    its training has not ended.
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
        """What the user should know of skipped images."""
        return skipped_notices(self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Return what `eval --json` prints."""
        return {
            **self.evaluation.to_json(),
            "checkpoint": str(self.checkpoint),
            "source": self.source,
            "unfinished": [] if self.unfinished is None else [str(self.unfinished)],
            "seen": {"trained_on": self.seen.trained_on, "chose_epoch": self.seen.chose_epoch},
            "weights": {"earlier": self.seen.earlier, "unlisted": self.seen.unlisted},
            "skipped": [each.to_json() for each in self.skipped],
            "temperature": self.calibration and asdict(self.calibration),
            "abstention": self.abstention and asdict(self.abstention),
            "gates": [asdict(gate) for gate in self.gates],
            "unchecked": list(self.unchecked),
        }


@dataclass(frozen=True)
class ScoredImages:
    """Images, the facts of each, a name for them all, and those that were skipped.

    `split` is the split that they are, None for images that are not a split.
    """

    samples: tuple[Sample, ...]
    facts: tuple[ImageFacts, ...]
    source: str
    split: str | None
    skipped: tuple[BadImage, ...]

    @property
    def files(self) -> Images:
        """The images as a scorer takes them."""
        from ftcli.data.loader import Images

        return Images(tuple(sample.path for sample in self.samples), tuple(fact.sha256 for fact in self.facts))

    def predictions(self, classes: tuple[str, ...], probabilities: NDArray[np.float64]) -> Predictions:
        """Return probabilities (N, classes) of these images with their labels."""
        return Predictions.of(classes, self.facts, [sample.label for sample in self.samples], probabilities)


def evaluate_checkpoint(path: Path, scoring: Scoring) -> EvalResult:
    """Score every image once, by a run, a checkpoint or an exported model, with its own preprocessing.

    Raises CheckpointError, DataError, or UsageError for a file that may not be written.
    """
    if scoring.predictions is not None:
        check_output(scoring.predictions)
    target = open_target(path)
    recipe = target.recipe
    if scoring.data is None:
        images = split_images(target, scoring.split or VAL)
    else:
        images = folder_images(target, scoring.data, scoring.split)
    fit = None if scoring.calibrate is None else _fit_images(target, scoring.data, scoring.calibrate)
    origin = path if target.form is None or not target.home.has_its_marks() else target.home.path
    seen = seen_images(origin, recipe, images, own_split=scoring.data is None)
    predictions = score_images(target, images, device=scoring.device, batch_size=scoring.batch_size)
    if scoring.predictions is not None:
        make_folder(scoring.predictions)
        write_predictions(scoring.predictions, predictions)
    evaluation = with_ranking(evaluate(predictions), predictions, if_quick=not scoring.ranking)
    precision = scoring.target_precision
    calibration = None
    if fit is not None:
        fitted = score_images(target, fit, device=scoring.device, batch_size=scoring.batch_size)
        calibration = calibrate(fitted, predictions, source=fit.source, trained_on=fit.split == TRAIN)
    return EvalResult(
        target.path,
        images.source,
        seen=seen,
        evaluation=evaluation,
        calibration=calibration,
        abstention=None if precision is None else abstention(predictions, target=precision),
        gates=check_expectations(recipe.expect, evaluation, split=images.split, run=str(target.path)),
        unchecked=unchecked(recipe.expect, split=images.split),
        skipped=images.skipped,
        unfinished=path if path.is_dir() and target.form is None and not target.home.summary.is_file() else None,
    )


def score_images(
    target: Target, images: ScoredImages, *, device: str | None = None, batch_size: int | None = None
) -> Predictions:
    """Return the predictions of labelled images. Raises what `Target.scorer` and `Scorer.probabilities` raise."""
    scorer = target.scorer(device=device, batch_size=batch_size)
    return images.predictions(target.classes, scorer.probabilities(images.files))


def split_images(target: Target, split: str) -> ScoredImages:
    """Find and read the images of a split of the dataset that a network was trained on.

    Raises DatasetError where that dataset has other classes now, or lacks the split.
    """
    classes, recipe = target.classes, target.recipe
    dataset = open_recipe_dataset(recipe, began=directory_where_began(target.home))
    if dataset.classes != classes:
        raise DatasetError(
            f"has the classes {', '.join(dataset.classes)}, but the checkpoint has {', '.join(classes)}",
            where=str(dataset.root),
            hint="Pass the images that belong to the checkpoint with --data.",
        )
    if split not in dataset.splits:
        there = ", ".join(dataset.splits)
        raise DatasetError(f"has no {split} split, only {there}", where=str(dataset.root), hint="Choose with --split.")
    source = f"{split} of {dataset.root}"
    if dataset.val_fraction is not None and split in {TRAIN, VAL}:
        if recipe.data.on_bad_image == "skip" or recipe.data.keep_together == "similar":
            # Which images are val depends on which images could be read when train was split, and on what they show.
            dataset, facts, skipped = inspect_dataset(recipe, dataset)
            return ScoredImages(dataset.splits[split], facts[split], source, split, skipped)
        if "keep_together" in target.recipe_values["data"]:  # earlier versions cut by names alone
            dataset = with_final_cut(recipe, dataset)
    samples, survey = readable_samples(recipe, dataset.splits[split])
    return ScoredImages(samples, survey.facts, source, split, survey.bad)


def folder_images(target: Target, folder: Path, split: str | None) -> ScoredImages:
    """Find and read the images of a folder of classes, or of a split of a root."""
    classes = target.classes
    found = open_scored_folder(folder, classes=classes, split=split)
    # In a root with splits, names start with the split's folder; else the folder itself may be one.
    within = _split_folder(found, classes)
    samples, survey = readable_samples(target.recipe, found)
    source = str(folder) if within is None else f"{within} of {folder}"
    name = within or folder.resolve().name
    found_split = VAL if name in VAL_FOLDERS else name if name in SPLIT_FOLDERS else None
    return ScoredImages(samples, survey.facts, source, found_split, survey.bad)


def _fit_images(target: Target, data: Path | None, split: str) -> ScoredImages:
    """Return a split to fit on: of the root that is scored, or else of the recipe's dataset."""
    classes = target.classes
    if data is not None and _split_folder(open_scored_folder(data, classes=classes), classes) is not None:
        return folder_images(target, data, split)
    return split_images(target, split)


def _split_folder(samples: Sequence[Sample], classes: Sequence[str]) -> str | None:
    """Return the split's folder that names of images start with, where they are of a root with splits."""
    first = samples[0].name.partition("/")[0]
    return first if first in SPLIT_FOLDERS and first not in classes else None


def seen_images(path: Path, recipe: Recipe, images: ScoredImages, *, own_split: bool) -> Seen:
    """Count the scored images that the network at `path`, a run or a checkpoint, was trained or selected on.

    Images are recognised by content from the run's own files, even if its dataset has changed since. A checkpoint
    outside its run has no such files: then only the split is known, and counts as a whole, if `own_split` says that it
    is one of the recipe's dataset. Raises RunDirectoryError where `path` is a run whose files are damaged.
    """
    trained_on, chose_epoch, earlier = _known(path)
    count, sha256 = len(images.samples), [fact.sha256 for fact in images.facts]
    whole = images.split if own_split else None
    seen = Seen(count, count if trained_on is None and whole == TRAIN else None, 0)
    if earlier is not None:
        began = count_among(earlier.images, sha256) or 0
        trained_on = None if trained_on is None else trained_on.union(earlier.images)
        seen = replace(seen, earlier=began, unlisted=earlier.unlisted)
    if trained_on is not None:
        seen = replace(seen, trained_on=count_among(trained_on, sha256))
    if not recipe.chooses_epoch:
        return seen
    chose = count if chose_epoch is None and whole == VAL else count_among(chose_epoch, sha256)
    return replace(seen, chose_epoch=chose)


def _known(path: Path) -> tuple[_Hashes, _Hashes, Earlier | None]:
    """Return the hashes of what a run was trained on and of what chose its epoch, and what its weights had seen.

    None is for what is unknown.
    """
    run = run_of(path)
    if run is None:
        return None, None, None
    try:
        return read_train_hashes(run), _val_hashes(run), read_earlier(run)
    except RunDirectoryError:
        if path.is_dir():
            raise
        return None, None, None  # the run is damaged, but its checkpoint can be scored without it


def _val_hashes(run: RunDirectory) -> _Hashes:
    """Return the hashes of the images that chose the best epoch; None before there is one."""
    predictions = run.predictions(VAL)
    if not predictions.is_file() and not run.summary.is_file():
        return None
    run.check_unchanged(f"{predictions.parent.name}/{predictions.name}")
    return frozenset(read_predictions(predictions).sha256)
