"""Wires `ftcli eval`: a checkpoint and images to an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.elsewhere import naming_where_it_began
from ftcli.commands.scored_images import ScoredImages, folder_images, has_splits, split_images
from ftcli.commands.seen_images import seen_images
from ftcli.data.dataset import TRAIN, VAL
from ftcli.data.inspection import BadImage
from ftcli.data.notices import skipped_notices
from ftcli.evaluation.abstention import Abstention, abstention
from ftcli.evaluation.expectations import check_expectations, unchecked
from ftcli.evaluation.metrics import Evaluation, evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.ranking import with_ranking
from ftcli.evaluation.seen import Seen
from ftcli.evaluation.temperature import Calibration, calibrate
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import recipe_from
from ftcli.records import Gate
from ftcli.runs.directory import RunDirectory
from ftcli.runs.outputs import check_output, make_folder
from ftcli.runs.predictions_file import write_predictions
from ftcli.runs.staging import put_back

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
    with naming_where_it_began(RunDirectory(checkpoint.path.resolve().parent.parent), recipe):
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
