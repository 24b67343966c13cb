"""From a recipe to everything that is known before anything expensive: dataset, plan, facts of images, notices."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftcli.data.builtin import DIGITS, digits_folder
from ftcli.data.checks.copies import Earlier
from ftcli.data.checks.findings import Finding, finding_notices, skipped_notices
from ftcli.data.checks.fingerprints import Fingerprint, similar
from ftcli.data.checks.images import check_images, fingerprints_of
from ftcli.data.checks.table import content_findings
from ftcli.data.class_folders import IMAGE_EXTENSIONS, is_folder
from ftcli.data.dataset import SPLIT_FOLDERS, TRAIN, VAL, Dataset, Sample, open_dataset
from ftcli.data.inspection import (
    SKIP_THEM,
    BadImage,
    ImageFacts,
    OnImage,
    Survey,
    hash_images,
    hash_twins,
    identical,
    survey_images,
)
from ftcli.data.val_split import refuse_clusters_in_several_splits
from ftcli.data.workers import available_cores
from ftcli.errors import DatasetError, ModelError, RunDirectoryError, UsageError
from ftcli.metrics import METRICS, split_and_metric
from ftcli.phrases import listed
from ftcli.plan import Plan
from ftcli.recipe.keys import FromScratch, Phases, Recipe
from ftcli.records import Progress
from ftcli.runs.create import put_back
from ftcli.runs.directory import RunDirectory
from ftcli.strategies import HEAD, check_warmup, make_plan

if TYPE_CHECKING:  # torch, which wrong recipes and names must not wait for
    from ftcli.engine.extraction import DataSettings
    from ftcli.model.network import Network
    from ftcli.model.weights import SourceWeights

DATA_DIR = Path("data")
"""Where built-in datasets are written, below the current directory."""


@dataclass(frozen=True)
class Prepared:
    """What a recipe comes to, without reading weights or writing a file.

    `batchnorm` says of each group whether it has BatchNorm layers whose statistics follow the batches once it trains.
    `prepare` fills what follows from names; `inspect` adds what images hold: `facts` of train and val by split, and
    then `dataset` lacks the images that cannot be used, which are in `skipped`. `earlier` is what the initial weights
    were trained on, where they are not a library's.
    """

    recipe: Recipe
    dataset: Dataset
    plan: Plan
    parameters: dict[str, int]
    batchnorm: dict[str, bool]
    notices: tuple[str, ...]
    facts: dict[str, tuple[ImageFacts, ...]] = field(default_factory=dict)
    skipped: tuple[BadImage, ...] = ()
    findings: tuple[Finding, ...] = ()
    earlier: Earlier | None = None

    def of_seed(self, seed: int) -> Prepared:
        """Return the same for one of the recipe's seeds."""
        return replace(self, recipe=self.recipe.of_seed(seed))


def prepare(recipe: Recipe, *, began: Path | None = None) -> Prepared:
    """Find the images of a recipe and make its plan; `began` is the directory in which its run was started.

    Raises DatasetError, ModelError or PlanError. Nothing is written, except the built-in dataset where it is used.
    """
    dataset = open_recipe_dataset(recipe, began=began)
    refuse_clusters_in_several_splits(dataset.splits, where=str(dataset.root))
    _check_expectations(recipe, dataset)
    # These import torch, which the errors above do not wait for.
    from ftcli.model.freezing import has_batchnorm
    from ftcli.model.network import fitting_outline

    outline = fitting_outline(recipe.model.name, classes=dataset.classes, image_size=recipe.data.image_size)
    groups = [group.name for group in outline.groups]
    plan = make_plan(
        recipe.strategy,
        groups,
        epochs=recipe.total_epochs,
        patience=recipe.patience,
        default_lr=recipe.default_lr,
    )
    check_warmup(plan, recipe.schedule.warmup_epochs)
    batchnorm = {group.name: has_batchnorm(outline, group) for group in outline.groups}
    if recipe.model.batchnorm == "eval":
        _check_batchnorm(plan, batchnorm)
        batchnorm = dict.fromkeys(batchnorm, False)
    _check_batch_size(recipe, plan, batchnorm)
    resolved = _resolved(recipe, dataset, outline.spec.image_size)
    notices = _notices(resolved, dataset, plan)
    return Prepared(resolved, dataset, plan, outline.parameter_counts, batchnorm, notices)


def inspect(prepared: Prepared, progress: Progress) -> Prepared:
    """Read every image of train and val, and hash those of test; `eval` decodes the latter.

    Unusable images raise one ImageError, or are left out if the recipe says so.
    """
    recipe, splits = prepared.recipe, prepared.dataset.splits
    progress.stage(f"checking {sum(len(splits[split]) for split in ('train', 'val'))} images")
    dataset, facts, skipped = inspect_dataset(
        recipe, prepared.dataset, on_image=lambda done, total: progress.step("images", done, total)
    )
    sha256_of = {fact.name: fact.sha256 for of_split in facts.values() for fact in of_split}
    test = dataset.splits.get("test", ())
    hashed = zip(test, hash_images(test, workers=available_cores()), strict=True)
    sha256_of.update((sample.name, sha256) for sample, sha256 in hashed if sha256 is not None)
    earlier = earlier_images(recipe)
    findings = content_findings(dataset, sha256_of, earlier)
    notices = (*skipped_notices(skipped), *finding_notices(findings))
    for text in notices:
        progress.notice(text)
    return replace(
        prepared,
        dataset=dataset,
        notices=(*prepared.notices, *notices),
        facts=facts,
        skipped=skipped,
        findings=findings,
        earlier=earlier,
    )


def earlier_images(recipe: Recipe) -> Earlier | None:
    """Return what a recipe's initial weights were trained on; None if they are a library's, or random."""
    if recipe.model.weights in {"default", "none"} or isinstance(recipe.strategy, FromScratch):
        return None
    from ftcli.runs.dataset_file import trained_by

    put_back(Path(recipe.model.weights))
    return trained_by(Path(recipe.model.weights))


def initial_network(recipe: Recipe, classes: Sequence[str], progress: Progress) -> Network:
    """Build a recipe's network with its initial weights: the library's, none, a file's, or those of another run.

    Raises ModelError or CheckpointError for weights that do not fit, WeightsUnavailableError when offline.
    """
    from ftcli.model.network import build_network, check_image_size

    model = recipe.model
    network = build_network(
        model.name,
        model.weights,
        classes=classes,
        seed=recipe.seed,
        image_size=recipe.data.image_size,
        source=None if model.weights in {"default", "none"} else _source(Path(model.weights), model.name),
    )
    check_image_size(network)
    for text in network.notices:
        progress.stage(text)
    return network


def data_settings(recipe: Recipe) -> DataSettings:
    """Return how a recipe's images reach the network, as the engine takes it."""
    from ftcli.engine.extraction import DataSettings

    data = recipe.data
    return DataSettings(
        data.batch_size, data.augment, data.views, data.cache, data.workers, recipe.seed, data.share_views
    )


def _source(path: Path, model: str) -> SourceWeights | None:
    """Return the weights of another run; None where the path is a plain file of weights."""
    from ftcli.model.weights import SourceWeights
    from ftcli.runs.checkpoint import is_checkpoint, load_checkpoint

    put_back(path)
    if not is_checkpoint(path):
        return None
    checkpoint = load_checkpoint(path)
    if checkpoint.info.model != model:
        raise ModelError(
            f"holds a {checkpoint.info.model}, not a {model}",
            where=str(checkpoint.path),
            hint=f"Set model.name to {checkpoint.info.model}, or model.weights to a run of {model}.",
        )
    return SourceWeights(
        state_dict=checkpoint.state_dict,
        classes=checkpoint.info.classes,
        spec=checkpoint.info.spec,
        origin=str(checkpoint.path),
    )


def inspect_dataset(
    recipe: Recipe, dataset: Dataset, *, on_image: OnImage | None = None
) -> tuple[Dataset, dict[str, tuple[ImageFacts, ...]], tuple[BadImage, ...]]:
    """Read every image of train and val; return the dataset without unusable ones, the facts by split, and these.

    Val is cut as if unusable images did not exist, and copies are never parted. Raises ImageError for unusable images
    unless the recipe skips them, and DatasetError where a class has no others.
    """
    samples, workers = [*dataset.splits["train"], *dataset.splits["val"]], available_cores()
    fingerprints: dict[str, Fingerprint] = {}
    if dataset.val_fraction is not None and recipe.data.keep_together == "similar":
        images, bad = check_images(samples, workers=workers, on_image=on_image)
        survey = Survey(tuple(image.facts for image in images), bad)
        fingerprints = fingerprints_of(images)
    else:
        survey = survey_images(samples, workers=workers, on_image=on_image)
    if recipe.data.on_bad_image == "error":
        survey.refuse_bad(otherwise=SKIP_THEM)
    alike = kept_together(recipe, dataset, {fact.name: fact.sha256 for fact in survey.facts}, fingerprints)
    if survey.bad or alike:
        dataset = _reopened(recipe, dataset, survey, alike)
    facts = {fact.name: fact for fact in survey.facts}
    of_splits = {split: tuple(facts[sample.name] for sample in dataset.splits[split]) for split in ("train", "val")}
    return dataset, of_splits, survey.bad


def kept_together(
    recipe: Recipe, dataset: Dataset, sha256_of: Mapping[str, str], fingerprints: Mapping[str, Fingerprint]
) -> dict[str, str]:
    """Return what the cut of val must not part: one value for the images of a set, by name; empty without a cut."""
    if dataset.val_fraction is None:
        return {}
    names = {sample.name for split in (TRAIN, VAL) for sample in dataset.splits[split]}
    known = {name: sha256 for name, sha256 in sha256_of.items() if name in names}
    if recipe.data.keep_together == "identical":
        return identical(known)
    return similar(known, {name: each for name, each in fingerprints.items() if name in known})


def with_final_cut(recipe: Recipe, dataset: Dataset) -> Dataset:
    """Return the dataset as training cuts it, having read as few images as that takes.

    Raises ImageError or DatasetError as `inspect_dataset` does.
    """
    if dataset.val_fraction is None:
        return dataset
    if recipe.data.on_bad_image == "skip" or recipe.data.keep_together == "similar":
        return inspect_dataset(recipe, dataset)[0]
    samples = [*dataset.splits[TRAIN], *dataset.splits[VAL]]
    alike = identical(hash_twins(samples, workers=available_cores()))
    return open_recipe_dataset(recipe, alike=alike) if alike else dataset


def readable_samples(recipe: Recipe, samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], Survey]:
    """Read some images; return the usable ones. Others raise ImageError unless the recipe skips them."""
    survey = survey_images(samples, workers=available_cores())
    if recipe.data.on_bad_image == "error" or not survey.facts:
        survey.refuse_bad()
    bad = {each.path for each in survey.bad}
    return tuple(sample for sample in samples if sample.name not in bad), survey


def refuse_among_images(path: Path, dataset: Dataset) -> None:
    """Raise UsageError for a run directory that the next command would take for a class, or for images of one."""
    place, root = path.resolve(), dataset.root.resolve()
    if not place.is_relative_to(root):
        return
    inside = place.relative_to(root).parts
    hidden = any(part.startswith(".") for part in inside)
    if not hidden and (inside[0] in SPLIT_FOLDERS or not (root / TRAIN).is_dir()):
        raise UsageError(
            f"is inside the image folder {dataset.root}, where a run would be taken for a class",
            where=str(path),
            hint="Choose another folder for runs with --runs, or move the images into a folder of their own.",
        )


def open_recipe_dataset(
    recipe: Recipe,
    *,
    left_out: Collection[str] = (),
    alike: Mapping[str, str] | None = None,
    began: Path | None = None,
) -> Dataset:
    """Open the dataset of a recipe, without the images `left_out`; the built-in one is written on first use.

    Where val is cut from train, images with one value in `alike`, by name, are not parted. Raises DatasetError; it
    names the directory `began`, in which a run was started, if the images are there instead.
    """
    data, root = recipe.data, Path(recipe.data.root)
    if began is not None and data.root != DIGITS and not is_folder(root) and is_folder(began / root):
        raise DatasetError(
            "does not exist in the current directory, but in the one where the run was started",
            where=str(root),
            hint=f"Change to that directory first: cd {shlex.quote(str(began))}",
        )
    dataset = open_dataset(
        image_root(recipe), val_fraction=data.val_fraction, group_by=data.group_by, left_out=left_out, alike=alike
    )
    if dataset.val_fraction is None and data.keep_together == "similar":
        message = "val has a folder, so keep_together: similar would be ignored"
        hint = "Remove data.keep_together; `ftcli check` reports near-duplicates in several splits."
        raise DatasetError(message, where=str(dataset.root), hint=hint)
    return dataset


def directory_where_began(run: RunDirectory) -> Path | None:
    """Return the directory in which a run was started; None if the run does not say, or is damaged."""
    try:
        directory = run.facts(run.environment).get("directory")
    except RunDirectoryError:
        return None
    return None if directory is None else Path(str(directory))


def image_root(recipe: Recipe) -> Path:
    """Return the folder of a recipe's images; the built-in one is written on first use."""
    return digits_folder(DATA_DIR) if recipe.data.root == DIGITS else Path(recipe.data.root)


def _resolved(recipe: Recipe, dataset: Dataset, image_size: int) -> Recipe:
    """Return the recipe with what was left to the dataset, the weights and the optimizer written out."""
    data = recipe.data.model_copy(update={"image_size": image_size, "val_fraction": dataset.val_fraction})
    model = recipe.model
    if isinstance(recipe.strategy, FromScratch):
        model = model.model_copy(update={"weights": "none"})
    strategy = recipe.strategy
    if not isinstance(strategy, Phases) and strategy.lr is None and not recipe.uses_lbfgs:
        strategy = strategy.model_copy(update={"lr": recipe.default_lr})
    written_out = {"data": data, "model": model, "strategy": strategy, "epochs": recipe.total_epochs}
    return recipe.model_copy(update=written_out)


def _check_expectations(recipe: Recipe, dataset: Dataset) -> None:
    for name in recipe.expect:
        metric = METRICS[split_and_metric(name)[1]]
        fewest, classes = metric.fewest_classes, len(dataset.classes)
        if classes < fewest:
            raise UsageError(
                f"{metric.words} needs at least {fewest} classes; this dataset has {classes}",
                where=f"expect.{name}",
                hint="Expect an accuracy instead.",
            )


def _check_batchnorm(plan: Plan, batchnorm: dict[str, bool]) -> None:
    if not any(batchnorm[group] for phase in plan.phases for group in phase.trainable):
        raise UsageError(
            "eval would have no effect: no phase trains a group with BatchNorm, and frozen ones never change",
            where="model.batchnorm",
            hint="Remove it, or unfreeze a group with BatchNorm.",
        )


def _check_batch_size(recipe: Recipe, plan: Plan, batchnorm: dict[str, bool]) -> None:
    if recipe.data.batch_size > 1:
        return
    for phase in plan.phases:
        if moving := [group for group in phase.trainable if batchnorm[group]]:
            raise UsageError(
                f"batches of one image cannot train BatchNorm, which phase {phase.name!r} does in {', '.join(moving)}",
                where="data.batch_size",
                hint="Set data.batch_size to 2 or more or model.batchnorm to eval, or freeze these groups.",
            )


def _notices(recipe: Recipe, dataset: Dataset, plan: Plan) -> tuple[str, ...]:
    notices = []
    if dataset.unlabelled:
        names = listed(path.relative_to(dataset.root) for path in dataset.unlabelled)
        notices.append(f"skipped, since they are not {' '.join(sorted(IMAGE_EXTENSIONS))} files of a class: {names}")
    never = [group for group in plan.groups if not any(phase.lr[group] is not None for phase in plan.phases)]
    if recipe.model.weights == "none" and never:
        notices.append(f"with weights: none, groups that no phase trains stay random: {', '.join(never)}")
    elif HEAD in never:
        notices.append("no phase trains the head, so it keeps its initial weights")
    return tuple(notices)


def _reopened(recipe: Recipe, dataset: Dataset, survey: Survey, alike: Mapping[str, str]) -> Dataset:
    """Open the dataset again as if the bad images were not there, with a cut that does not part what is alike."""
    good = {fact.name for fact in survey.facts}
    _check_enough(dataset, good)
    reopened = open_recipe_dataset(recipe, left_out={each.path for each in survey.bad}, alike=alike)
    if {sample.name for split in ("train", "val") for sample in reopened.splits[split]} != good:
        raise DatasetError(
            "files were added or removed while the images were read",
            where=str(dataset.root),
            hint="Run the command again.",
        )
    return reopened


def _check_enough(dataset: Dataset, good: set[str]) -> None:
    """Raise DatasetError where no good image is left of a class to train on, or of a val folder."""
    left = {split: [sample for sample in samples if sample.name in good] for split, samples in dataset.splits.items()}
    trainable = left["train"] if dataset.val_fraction is None else left["train"] + left["val"]
    trained = {sample.label for sample in trainable}
    without = [f"class {name!r}" for label, name in enumerate(dataset.classes) if label not in trained]
    if dataset.val_fraction is None and not left["val"]:
        without.append("val")
    if without:
        raise DatasetError(
            f"no usable image in {' and '.join(without)}",
            where=str(dataset.root),
            hint="Replace the files with good copies; `ftcli check` reports what is wrong with each.",
        )
