"""`ftcli export`: write a model for another runtime, prove it on val with that runtime, and only then keep it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ftcli import __version__
from ftcli.commands.eval import ScoredImages, folder_images, split_images
from ftcli.commands.target import Target, need, open_target
from ftcli.data.dataset import TRAIN, VAL
from ftcli.errors import GateError, RunDirectoryError, UsageError
from ftcli.evaluation.compare.differences import Difference
from ftcli.evaluation.compare.evidence import PairEvidence
from ftcli.evaluation.compare.pair import compare_paired
from ftcli.evaluation.compare.pairing import pair_by_content
from ftcli.evaluation.gates import Rule, Rules, judge
from ftcli.model.formats import FORMATS
from ftcli.records import SCHEMA, InputSpec
from ftcli.report.model_card import model_card
from ftcli.report.progress import QuietProgress
from ftcli.report.text.export import Quantized
from ftcli.runs.create import exchange, put_back, staged, sweep_places
from ftcli.runs.directory import RunDirectory
from ftcli.runs.export_directory import CARD, DESCRIPTION, GOLDEN, SCRIPT, GoldenImage
from ftcli.runs.files import cannot_write, hashes_of, read_json, write_json, write_text

if TYPE_CHECKING:
    from ftcli.engine.inference import Scorer

TOLERANCE = 1e-3
"""The largest difference of a probability between the network and the exported file that counts as equal."""

GOLDEN_IMAGES = 8
CALIBRATION_IMAGES = 300
"""Images of train that int8 is calibrated on, if there are so many."""

_BATCHES = (1, 2, 7)
"""Batch sizes that an exported file is tried with, in turn: a size that was fixed by mistake fails."""


@dataclass(frozen=True)
class ExportOptions:
    """What to write: `input` is uint8 pixels, or float images that the caller normalises.

    With `int8`, the file is quantized, and refused if it loses more than `max_drop` of accuracy (0.01 is a point).
    """

    format: Literal["onnx", "openvino", "timm"] = "onnx"
    input: Literal["uint8", "float"] = "uint8"
    output: Path | None = None
    data: Path | None = None
    golden: Literal["val", "synthetic"] = "val"
    int8: bool = False
    max_drop: float | None = None


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how closely the file agrees with the network on val."""

    directory: Path
    file: Path
    images: int
    source: str
    largest_difference: float
    tolerance: float
    runtime: str
    int8: Quantized | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `export --json` prints."""
        shown = {**asdict(self), "directory": str(self.directory), "file": str(self.file)}
        return {"schema": SCHEMA, **shown, "equal_labels": self.images}


def export(path: Path, options: ExportOptions, progress: QuietProgress) -> ExportResult:
    """Export a run or a checkpoint.

    Raises UsageError for a missing extra or a place that is taken, ModelError for a network that cannot be exported,
    DatasetError without images to prove the file with, and GateError where the file gives other labels: then nothing is
    left behind.
    """
    form = FORMATS[options.format]
    _check_options(options)
    need(*form.packages, *(["nncf"] if options.int8 else []), extra=form.extra)
    target = open_target(path)
    if target.checkpoint is None:
        raise UsageError("is an exported model already", where=str(path), hint="Give the run or its checkpoint.")
    from ftcli.model import export as writers

    directory = _directory(path, options)
    images = _val_images(target, options)
    progress.stage(f"scoring {len(images.samples):,} images with the checkpoint")
    expected = target.scorer(device="cpu", batch_size=None).probabilities(images.files)
    runtime = f"{form.runtime} {metadata.version(form.runtime)}"
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        sweep_places(directory.parent)
        with staged(directory) as staging:
            progress.stage(f"writing {form.file}")
            file = staging / form.file
            about = _about(target, options)
            getattr(writers, form.write)(target.network(), file, about)
            progress.stage(f"running it with {runtime}")
            scorer = written_scorer(target, options.format, file)
            difference = _prove(scorer, images, expected)
            quantized = None
            if options.int8:
                quantized = _quantize(target, options, file, images, expected, progress)
                scorer = written_scorer(target, options.format, file)
            golden = _golden(staging, target, options, images, scorer)
            verification = {
                "images": len(expected), "source": images.source, "equal_labels": len(expected),
                "largest_difference": difference, "batch_sizes": list(_BATCHES), "runtime": runtime,
            }  # fmt: skip
            description = {**about, "tolerance": TOLERANCE, "verification": verification, "golden": golden}
            description["int8"] = quantized and asdict(quantized)
            _write_beside(staging, description)
            exchange(staging, directory)
    except OSError as error:
        raise cannot_write(directory, error, what="cannot write the export") from error
    return ExportResult(
        directory, directory / file.name, len(expected), images.source, difference, TOLERANCE, runtime, quantized
    )


def _directory(path: Path, options: ExportOptions) -> Path:
    """Return where the export goes; an earlier export there is replaced, and nothing else."""
    if options.output is None and not path.is_dir():
        raise UsageError("is a checkpoint, not a run", where=str(path), hint="Say where to write with --output DIR.")
    directory = options.output or RunDirectory(path).export(options.format)
    put_back(directory)
    is_free = not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))
    if directory.is_symlink() or not (is_free or (directory / DESCRIPTION).is_file()):
        raise UsageError("exists and is not an export", where=str(directory), hint="Choose another --output.")
    return directory


def _check_options(options: ExportOptions) -> None:
    if options.input == "float" and options.format == "timm":
        raise UsageError("--input is for onnx and openvino; timm takes normalised images", hint="Leave it out.")
    if options.int8 and options.format != "openvino":
        raise UsageError("--int8 is for openvino", hint="Add --format openvino.")
    if options.max_drop is not None and not options.int8:
        raise UsageError("--max-drop is for --int8", hint="Add --int8, or leave it out.")


def _quantize(
    target: Target,
    options: ExportOptions,
    file: Path,
    images: ScoredImages,
    expected: NDArray[np.float64],
    progress: QuietProgress,
) -> Quantized:
    """Quantize the written file, calibrated on images of train, and measure on val what that costs.

    Raises GateError where it costs more than allowed.
    """
    from ftcli.engine.exported import fed_images
    from ftcli.model.export import quantize_openvino

    train = split_images(target, TRAIN)
    count = min(CALIBRATION_IMAGES, len(train.samples))
    chosen = np.random.default_rng(0).choice(len(train.samples), count, replace=False)
    progress.stage(f"calibrating int8 on {count:,} images of train")
    pixels = _pixels([train.samples[place].path for place in sorted(chosen)], target.spec)
    fed = [fed_images(each[None], target.spec, takes_pixels=options.input == "uint8") for each in pixels]
    quantize_openvino(file, fed)
    found = written_scorer(target, options.format, file).probabilities(images.files)
    a, b = (images.predictions(target.classes, each) for each in (expected, found))
    names = "checkpoint", f"int8 {file.name}"
    paired = pair_by_content(a, b, names=names)
    comparison = compare_paired(paired, names=names)
    if options.max_drop is not None:
        rules = Rules((Rule("drop", options.max_drop),))
        (gate,) = judge(rules, [PairEvidence(names, paired)])
        if not gate.holds:
            raise GateError(f"{gate.sentence} Nothing was written.", hint="Export without --int8, or raise --max-drop.")
    worst = min(comparison.per_class, key=lambda each: each.difference)
    recall = Difference(worst.a, worst.b, worst.difference, worst.low, worst.high)
    return Quantized(count, comparison.metrics["accuracy"], comparison.mcnemar.flips, worst.name, recall)


def _val_images(target: Target, options: ExportOptions) -> ScoredImages:
    return split_images(target, VAL) if options.data is None else folder_images(target, options.data, None)


def _about(target: Target, options: ExportOptions) -> dict[str, Any]:
    """Return what is known before the file is written; it is in the file, too."""
    assert target.checkpoint is not None
    info, file = target.checkpoint.info, target.path
    (digest,) = hashes_of(file.parent, [file.name]).values()
    return {
        "schema": SCHEMA,
        "format": options.format,
        "file": FORMATS[options.format].file,
        "classes": list(info.classes),
        "preprocessing": asdict(info.spec),
        "input": "float" if options.format == "timm" else options.input,
        "model": info.model,
        "epoch": info.epoch,
        "checkpoint_sha256": digest,
        "metrics": _run_metrics(target),
        "recipe": dict(info.recipe),
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "ftcli": __version__,
            **{name: metadata.version(name) for name in ("torch", *FORMATS[options.format].packages)},
        },
    }


def _run_metrics(target: Target) -> dict[str, Any] | None:
    """Return the metrics of val with their intervals; None for a checkpoint outside a finished run."""
    if not target.is_best or not target.home.summary.is_file():
        return None
    try:
        metrics = read_json(target.home.summary).get("metrics")
    except RunDirectoryError:
        return None
    return metrics if isinstance(metrics, dict) else None


def written_scorer(target: Target, form: str, file: Path) -> Scorer:
    """Return a scorer that runs the written file with its own runtime."""
    from ftcli.engine.inference import exported_scorer

    return exported_scorer(file, form, target.classes, target.spec, batch_size=max(_BATCHES))


def _prove(scorer: Scorer, images: ScoredImages, expected: NDArray[np.float64]) -> float:
    """Return the largest difference of a probability on val. Raises GateError where a label or more differs."""
    import torch

    found = scorer.probabilities(images.files)
    first = _pixels([sample.path for sample in images.samples[: max(_BATCHES)]], scorer.spec)
    for size in _BATCHES:  # of the first images, which the pass above has scored in the largest batches
        (again,) = scorer.score([torch.stack(first[:size])])
        if not np.allclose(again, found[: len(again)], atol=TOLERANCE):
            raise GateError(f"the exported file gives other probabilities in batches of {size}; nothing was written")
    difference = float(np.abs(found - expected).max())
    flips = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    if flips or difference > TOLERANCE:
        raise GateError(
            f"the exported file labels {flips} of {len(expected)} val images otherwise, and its probabilities differ "
            f"by up to {difference:.2g}; nothing was written",
            hint="Report this with the name of the network: its export is wrong.",
        )
    return difference


def _pixels(paths: Sequence[Path], spec: InputSpec) -> list[Any]:
    """Return images as uint8 (3, S, S), as the network takes them before it normalises."""
    from ftcli.data.decoding import decode
    from ftcli.data.transforms import evaluation_transform

    transform = evaluation_transform(spec)
    return [transform(decode(path, minimum_side=transform.minimum_side)) for path in paths]


def _golden(
    staging: Path, target: Target, options: ExportOptions, images: ScoredImages, scorer: Scorer
) -> list[dict[str, Any]]:
    """Copy or make the golden images, and return each with what the exported file makes of it."""
    folder = staging / GOLDEN
    folder.mkdir()
    if options.golden == "val":
        places = np.linspace(0, len(images.samples) - 1, min(GOLDEN_IMAGES, len(images.samples))).astype(int)
        for number, place in enumerate(dict.fromkeys(places.tolist())):
            path = images.samples[place].path
            shutil.copyfile(path, folder / f"{number}{path.suffix.lower()}")
    else:
        _synthetic(folder, target.spec.image_size)
    files = sorted(folder.iterdir())
    golden = []
    for file, scored in zip(files, scorer.label((file, file.name) for file in files), strict=True):
        if isinstance(scored, Exception):
            raise scored
        row = scored[1]
        name = f"{GOLDEN}/{file.name}"
        golden.append(asdict(GoldenImage(name, target.classes[int(row.argmax())], tuple(row.tolist()))))
    return golden


def _synthetic(folder: Path, side: int) -> None:
    """Write images of coloured stripes and noise, which are nobody's photographs."""
    from PIL import Image

    for number in range(GOLDEN_IMAGES):
        generator = np.random.default_rng(number)
        wave = np.sin(
            np.arange(side)[:, None, None] * generator.uniform(0.02, 0.4, 3) + np.arange(side)[None, :, None] / 9
        )
        noisy = 128 + 90 * wave + generator.normal(0, 20, (side, side, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")


def _write_beside(staging: Path, description: Mapping[str, Any]) -> None:
    """Write the script, the card and the description, the last with the hashes of all other files."""
    write_text(staging / SCRIPT, resources.files("ftcli.report").joinpath("standalone.py").read_text("utf-8"))
    write_text(staging / CARD, model_card(description))
    names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
    whole = {**description, "files": hashes_of(staging, names)}
    write_json(staging / DESCRIPTION, whole)
