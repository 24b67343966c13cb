"""Wires what `plan` and `train` share: recipe and dataset to classes, groups and plan, before anything expensive.

Wires `data.on_bad_image`: from a recipe's dataset to one whose images can all be used, with what each holds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ftcli.data.builtin import DIGITS, digits_folder
from ftcli.data.checks.dataset import content_findings
from ftcli.data.checks.findings import Finding, finding_notices, skipped_notices
from ftcli.data.class_folders import IMAGE_EXTENSIONS
from ftcli.data.dataset import SPLIT_FOLDERS, TRAIN, Dataset, Sample, open_dataset
from ftcli.data.inspection import (
    SKIP_THEM,
    BadImage,
    Heard,
    ImageFacts,
    Survey,
    hash_images,
    survey_images,
    unheard,
)
from ftcli.data.val_split import refuse_groups_in_several_splits
from ftcli.data.workers import available_cores
from ftcli.errors import DatasetError, UsageError
from ftcli.metrics import METRICS, split_and_metric
from ftcli.plan import Plan
from ftcli.recipe.keys import DEFAULT_VAL_FRACTION, FromScratch, Recipe
from ftcli.strategies import HEAD, check_warmup, make_plan

DATA_DIR = Path("data")
"""Where built-in datasets are written, below the current directory."""


@dataclass(frozen=True)
class Preparation:
    """A resolved recipe and what follows from it without reading weights or decoding images."""

    recipe: Recipe
    dataset: Dataset
    plan: Plan
    parameters: dict[str, int]
    batchnorm: dict[str, bool]
    notices: tuple[str, ...]


def prepare(recipe: Recipe) -> Preparation:
    """Find the images of a recipe and make its plan.

    Raises DatasetError, ModelError or PlanError; nothing has been written then, except the built-in dataset if the
    recipe names it.
    """
    dataset = open_recipe_dataset(recipe)
    refuse_groups_in_several_splits(dataset.splits, where=str(dataset.root))
    _check_expectations(recipe, dataset)
    # These import torch, which a wrong recipe must not wait for.
    from ftcli.model.freezing import batchnorm_mode
    from ftcli.model.network import check_image_size, outline_network

    outline = outline_network(recipe.model.name, classes=dataset.classes, image_size=recipe.data.image_size)
    check_image_size(outline)
    groups = [group.name for group in outline.groups]
    plan = make_plan(recipe.strategy, groups, epochs=recipe.total_epochs, patience=recipe.patience)
    check_warmup(plan, recipe.schedule.warmup_epochs)
    batchnorm = {group.name: batchnorm_mode(outline, group, 1.0) == "train" for group in outline.groups}
    _check_batch_size(recipe, plan, batchnorm)
    resolved = _resolved(recipe, dataset, outline.spec.image_size)
    notices = _notices(resolved, dataset, plan)
    return Preparation(resolved, dataset, plan, outline.parameter_counts, batchnorm, notices)


def refuse_among_images(path: Path, dataset: Dataset) -> None:
    """Raise UsageError for a run whose folder would be taken for a class, or for images of one, by the next command."""
    place, root = path.resolve(), dataset.root.resolve()
    if not place.is_relative_to(root):
        return
    inside = place.relative_to(root).parts
    hidden = any(part.startswith(".") for part in inside)
    if not hidden and (inside[0] in SPLIT_FOLDERS or not (root / TRAIN).is_dir()):
        raise UsageError(
            f"is among the images of {dataset.root}, where a run would count as a class",
            where=str(path),
            hint="Put runs elsewhere with --runs, or the images into a folder of their own.",
        )


def open_recipe_dataset(recipe: Recipe, *, left_out: Collection[str] = ()) -> Dataset:
    """Open the dataset that a recipe names, without some images; the built-in one is written on first use."""
    data = recipe.data
    return open_dataset(
        image_root(recipe),
        val_fraction=data.val_fraction,
        default_val_fraction=DEFAULT_VAL_FRACTION,
        group_by=data.group_by,
        left_out=left_out,
    )


def image_root(recipe: Recipe) -> Path:
    """Return the folder of a recipe's images; the built-in one is written on first use."""
    return digits_folder(DATA_DIR) if recipe.data.root == DIGITS else Path(recipe.data.root)


def _resolved(recipe: Recipe, dataset: Dataset, image_size: int) -> Recipe:
    """Return the recipe with what was left to the dataset and the weights written out."""
    data = recipe.data.model_copy(update={"image_size": image_size, "val_fraction": dataset.val_fraction})
    model = recipe.model
    if isinstance(recipe.strategy, FromScratch):
        model = model.model_copy(update={"weights": "none"})
    return recipe.model_copy(update={"data": data, "model": model, "epochs": recipe.total_epochs})


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


def _check_batch_size(recipe: Recipe, plan: Plan, batchnorm: dict[str, bool]) -> None:
    if recipe.data.batch_size > 1:
        return
    for phase in plan.phases:
        if moving := [group for group in phase.trainable if batchnorm[group]]:
            raise UsageError(
                f"batches of one image cannot train BatchNorm, which phase {phase.name!r} does in {', '.join(moving)}",
                where="data.batch_size",
                hint="Set data.batch_size to 2 or more, or freeze these groups.",
            )


def _notices(recipe: Recipe, dataset: Dataset, plan: Plan) -> tuple[str, ...]:
    notices = []
    if dataset.strays:
        names = ", ".join(str(path.relative_to(dataset.root)) for path in dataset.strays[:5])
        more = f" and {len(dataset.strays) - 5} more" if len(dataset.strays) > 5 else ""
        notices.append(
            f"left out, since they are not {' '.join(sorted(IMAGE_EXTENSIONS))} files of a class: {names}{more}"
        )
    never = [group for group in plan.groups if not any(phase.lr[group] is not None for phase in plan.phases)]
    if recipe.model.weights == "none" and never:
        notices.append(f"weights: none leaves groups random that no phase trains: {', '.join(never)}")
    elif HEAD in never:
        notices.append("no phase trains the head, so its first weights stay")
    return tuple(notices)


@dataclass(frozen=True)
class Inspected:
    """A dataset whose train and val images can be used, the facts of these, what was left out and what was found."""

    dataset: Dataset
    facts: dict[str, tuple[ImageFacts, ...]]
    skipped: tuple[BadImage, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know before training, in a few sentences."""
        return (*skipped_notices(self.skipped), *finding_notices(self.findings))


def inspect_for_training(recipe: Recipe, dataset: Dataset, *, heard: Heard) -> Inspected:
    """Look at a dataset as `inspect_dataset` does, and find what its names and hashes tell.

    Images of test are hashed alone: whether they can be decoded is for `eval` to say.
    """
    inspected = inspect_dataset(recipe, dataset, heard=heard)
    sha256_of = {fact.name: fact.sha256 for facts in inspected.facts.values() for fact in facts}
    test = inspected.dataset.splits.get("test", ())
    hashed = zip(test, hash_images(test, workers=available_cores()), strict=True)
    sha256_of.update((sample.name, sha256) for sample, sha256 in hashed if sha256 is not None)
    return replace(inspected, findings=content_findings(inspected.dataset, sha256_of))


def inspect_dataset(recipe: Recipe, dataset: Dataset, *, heard: Heard = unheard) -> Inspected:
    """Look at every image of train and val. Bad ones raise one ImageError, or are left out where the recipe says so.

    Val is then cut as if they were not there. Raises DatasetError where they are all that a class has.
    """
    samples = [*dataset.splits["train"], *dataset.splits["val"]]
    survey = survey_images(samples, workers=available_cores(), heard=heard)
    if recipe.data.on_bad_image == "error":
        survey.refuse_bad(otherwise=SKIP_THEM)
    if survey.bad:
        dataset = _without(recipe, dataset, survey)
    facts = {fact.name: fact for fact in survey.facts}
    of_splits = {split: tuple(facts[sample.name] for sample in dataset.splits[split]) for split in ("train", "val")}
    return Inspected(dataset, of_splits, survey.bad)


def readable_samples(recipe: Recipe, samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], Survey]:
    """Look at some images; return those that can be used. Bad ones raise ImageError unless the recipe skips them."""
    survey = survey_images(samples, workers=available_cores())
    if recipe.data.on_bad_image == "error" or not survey.facts:
        survey.refuse_bad()
    bad = {each.path for each in survey.bad}
    return tuple(sample for sample in samples if sample.name not in bad), survey


def _without(recipe: Recipe, dataset: Dataset, survey: Survey) -> Dataset:
    """Open the dataset again as if the bad images were not there."""
    good = {fact.name for fact in survey.facts}
    _check_enough(dataset, good)
    reopened = open_recipe_dataset(recipe, left_out={each.path for each in survey.bad})
    if {sample.name for split in ("train", "val") for sample in reopened.splits[split]} != good:
        raise DatasetError(
            "files came or went while the images were read", where=str(dataset.root), hint="Run the command again."
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
            f"no image of {' and of '.join(without)} can be used",
            where=str(dataset.root),
            hint="Replace the files by good copies; `ftcli check` says what is wrong with each.",
        )
