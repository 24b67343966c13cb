"""`ftcli predict`: label images with a checkpoint, one line for each, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.outputs import check_output, make_folder
from ftcli.commands.target import Target, open_target
from ftcli.data.given_paths import GivenImage, find_images
from ftcli.data.inspection import BadImage, Survey, bad_image
from ftcli.data.sort_into import Placing, place
from ftcli.errors import ImageError, InterruptedRunError, StoppedAtOnce, UsageError
from ftcli.evaluation.abstention import abstention
from ftcli.records import SCHEMA
from ftcli.report.progress import QuietProgress
from ftcli.report.text.predict import ABSTAIN, Form, Labelled, header, line
from ftcli.runs.part_file import PartFile
from ftcli.runs.predictions_file import read_predictions

if TYPE_CHECKING:
    from ftcli.engine.inference import Scorer


@dataclass(frozen=True)
class Labelling:
    """How images are labelled; None means what the recipe says.

    With `target_precision`, images are only labelled at a confidence that reached this precision on val. `sort_into` is
    a folder for class folders, filled by `placing` unless it is a `dry_run`.
    """

    form: Form
    output: Path | None = None
    resume: bool = False
    target_precision: float | None = None
    sort_into: Path | None = None
    placing: Placing = Placing.COPY
    dry_run: bool = False
    batch_size: int | None = None
    device: str | None = None


@dataclass
class PredictResult:
    """How many images have which label, and those that could not be read or sorted."""

    checkpoint: Path
    labels: dict[str, int]
    threshold: float | None
    skipped: list[BadImage] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def images(self) -> int:
        """The number of images that have a label."""
        return sum(self.labels.values())

    def refuse_skipped(self) -> None:
        """Raise one ImageError that names every image without a label."""
        Survey((), tuple(self.skipped)).refuse_bad()

    def to_json(self) -> dict[str, Any]:
        """Return what `predict --json` prints, without the images."""
        return {
            "schema": SCHEMA,
            "checkpoint": str(self.checkpoint),
            "images": self.images,
            "labels": self.labels,
            "threshold": self.threshold,
            "skipped": [each.to_json() for each in self.skipped],
            "seconds": round(self.seconds, 3),
        }


def predict(
    target: Path,
    paths: Sequence[str],
    how: Labelling,
    *,
    emit: Callable[[str], None],
    progress: QuietProgress,
    listed: Iterable[str] = (),
) -> PredictResult:
    """Label every image that `paths` name, in order; `emit` gets the lines where there is no output file.

    Images that cannot be used are skipped, and are in the result. Raises CheckpointError, DatasetError for a path that
    names nothing, and UsageError for what cannot be written or promised.
    """
    if how.output is not None:
        check_output(how.output)
    if how.sort_into is not None:
        _check_sort_into(how.sort_into, paths)
    images = find_images(paths, listed=listed)
    opened = open_target(target)
    classes = opened.classes
    threshold = None if how.target_precision is None else _threshold(opened, how.target_precision, progress)
    names = (*classes, ABSTAIN) if threshold is not None else classes
    result = PredictResult(opened.path, dict.fromkeys(names, 0), threshold)
    first = header(how.form, classes)
    part = None if how.output is None else _part_file(how, first, opened, threshold)
    images = images if part is None else tuple(each for each in images if each.path not in part.done)
    scorer = opened.scorer(device=how.device, batch_size=how.batch_size)
    started = time.monotonic()
    with part or nullcontext():
        write = emit if part is None else part.write
        if first is not None and (part is None or part.is_new):
            write(first)
        try:
            for labelled in _label(images, scorer, result, how, progress):
                write(line(how.form, labelled, classes))
        except StoppedAtOnce as stop:
            if part is None:
                raise
            message = f"stopped by {stop.name}: {how.output} is not complete"
            hint = "Run the same command with --continue to complete it."
            raise InterruptedRunError(message, hint=hint, signal_number=stop.signal_number) from stop
    result.seconds = time.monotonic() - started
    return result


def _label(
    images: Sequence[GivenImage], scorer: Scorer, result: PredictResult, how: Labelling, progress: QuietProgress
) -> Iterator[Labelled]:
    """Yield each image that can be used with its label, sorted into its folder; count them and the others."""
    classes = scorer.classes
    progress.step("images", 0, len(images))
    files = ((Path(image.path), image.path) for image in images)
    for done, (image, scored) in enumerate(zip(images, scorer.label(files), strict=True), 1):
        if isinstance(scored, ImageError):
            _skip(scored, result, progress)
        else:
            facts, probabilities = scored
            label = int(probabilities.argmax())
            confidence = float(probabilities[label])
            sure = result.threshold is None or confidence >= result.threshold
            labelled = Labelled(
                image.path, facts.sha256, classes[label] if sure else ABSTAIN, confidence, probabilities
            )
            result.labels[labelled.predicted] += 1
            yield labelled
            _sort(image, labelled, result, how, progress)
        progress.step("images", done, len(images))


def _sort(
    image: GivenImage, labelled: Labelled, result: PredictResult, how: Labelling, progress: QuietProgress
) -> None:
    if how.sort_into is None or how.dry_run:
        return
    folder = how.sort_into / labelled.predicted
    try:
        place(Path(image.path), folder, image.name, sha256=labelled.sha256, how=how.placing)
    except ImageError as error:
        _skip(error, result, progress)


def _check_sort_into(folder: Path, paths: Sequence[str]) -> None:
    """Raise UsageError for a folder whose images the next call would label again."""
    inside = next(
        (path for path in paths if Path(path).is_dir() and folder.resolve().is_relative_to(Path(path).resolve())), None
    )
    if inside is not None:
        message = f"lies inside {inside}, so that its images would be labelled themselves"
        raise UsageError(message, where=str(folder), hint="Choose a folder elsewhere with --sort-into.")
    if folder.exists() and not folder.is_dir():
        raise UsageError("is not a folder", where=str(folder), hint="Choose a folder with --sort-into.")


def _skip(error: ImageError, result: PredictResult, progress: QuietProgress) -> None:
    result.skipped.append(bad_image(error))
    progress.notice(f"skipped {error.where}: {error.message}")


def _part_file(how: Labelling, first: str | None, target: Target, threshold: float | None) -> PartFile:
    """Open the output file's part, and refuse to continue one that has other labels or columns."""
    from ftcli.runs.files import hashes_of

    assert how.output is not None
    (digest,) = hashes_of(target.path.parent, [target.path.name]).values()
    make_folder(how.output)
    settings = {
        "checkpoint_sha256": digest, "format": how.form.format, "header": first, "topk": how.form.topk,
        "probabilities": how.form.probabilities, "threshold": threshold,
    }  # fmt: skip
    return PartFile(how.output, settings, is_csv=how.form.format == "csv", resume=how.resume)


def _threshold(opened: Target, target: float, progress: QuietProgress) -> float:
    """Return the least confidence that promises the target precision, from the predictions of val in the run."""
    if ABSTAIN in opened.classes:
        message = f"a class is called {ABSTAIN}, as images without a class would be"
        raise UsageError(message, where=str(opened.path), hint="Leave --target-precision out.")
    file = opened.home.predictions("val")
    if not opened.is_best or not file.is_file():
        message = "is not the best checkpoint of a run, so there are no predictions of val to find a threshold from"
        raise UsageError(message, where=str(opened.path), hint="Give the run's directory.")
    opened.home.check_unchanged(f"{file.parent.name}/{file.name}")
    predictions = read_predictions(file)
    found = abstention(predictions, target=target).suggestion
    if found is None:
        message = f"no confidence promises a precision of {target:g}: val has {len(predictions)} images"
        raise UsageError(message, where=str(file), hint="Lower --target-precision, or train with a larger val.")
    if opened.recipe.chooses_epoch:
        progress.notice("the threshold comes from val, which chose the epoch: its precision may be optimistic")
    return found.threshold
