"""Wires `data.on_bad_image`: from a recipe's dataset to one whose images can all be used, with what each holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ftcli.commands.prepare import open_recipe_dataset
from ftcli.data.checks.dataset import content_findings
from ftcli.data.checks.findings import Finding
from ftcli.data.dataset import Dataset, Sample
from ftcli.data.inspection import SKIP_THEM, BadImage, Heard, ImageFacts, Survey, hash_images, survey_images, unheard
from ftcli.data.notices import finding_notices, skipped_notices
from ftcli.data.workers import available_cores
from ftcli.errors import DatasetError
from ftcli.recipe.keys import Recipe


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
