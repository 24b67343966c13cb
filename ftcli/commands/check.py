"""Wires `ftcli check`: a folder, or a recipe's dataset, to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftcli.cache.key import ENVIRONMENT, CacheError, cache_directory, read_descriptions
from ftcli.commands.prepare import image_root, open_recipe_dataset
from ftcli.data.builtin import DIGITS
from ftcli.data.checks.contents import Contents, contents_of
from ftcli.data.checks.copies import near_duplicate_findings
from ftcli.data.checks.dataset import bad_image_findings, content_findings, stray_findings
from ftcli.data.checks.findings import Finding, with_level
from ftcli.data.checks.images import Look, appearance_findings, look_at
from ftcli.data.checks.look_alikes import Sight, look_alike_findings
from ftcli.data.class_folders import is_folder
from ftcli.data.dataset import Dataset, val_folder_of
from ftcli.data.inspection import BadImage, attempt_all, bad_image
from ftcli.data.workers import available_cores
from ftcli.errors import DataError, DatasetError, ImageError, UsageError
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_from
from ftcli.records import SCHEMA, Progress


@dataclass(frozen=True)
class CheckResult:
    """What was found in a dataset; no contents where its folders are not as they must be.

    `seen` is how a network sees the images, if the cache knows it from a run that was trained on them.
    """

    root: str
    contents: Contents | None
    findings: tuple[Finding, ...]
    seen: Sight | None = None

    @property
    def exit_code(self) -> int:
        """0, or that of wrong data where an error stands."""
        return DataError.exit_code if with_level(self.findings, "error") else 0

    def to_json(self) -> dict[str, Any]:
        """Return what `check --json` prints."""
        return {
            "schema": SCHEMA,
            "root": self.root,
            "errors": len(with_level(self.findings, "error")),
            "warnings": len(with_level(self.findings, "warning")),
            "contents": None if self.contents is None else self.contents.to_json(),
            "features": None if self.seen is None else self.seen.to_json(),
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True)
class CheckOptions:
    """What a folder does not say of itself, and a recipe does."""

    val_fraction: float | None = None
    group_by: str | None = None


def check_dataset(source: str, options: CheckOptions, *, progress: Progress) -> CheckResult:
    """Look at every image of a folder, or of the dataset that a recipe names.

    Raises DatasetError where there is no folder, and UsageError for options that a recipe or a val folder contradicts.
    """
    recipe = _recipe(source, options)
    if recipe.data.root != DIGITS and not is_folder(recipe.data.root):
        open_recipe_dataset(recipe)  # says what is there instead
    try:
        if options.val_fraction is not None:
            _refuse_val_folder(recipe, source)
        dataset = open_recipe_dataset(recipe)
    except DatasetError as error:
        return CheckResult(recipe.data.root, None, (_layout(error),))
    progress.stage(f"looking at {sum(map(len, dataset.splits.values())):,} images")
    return _check(recipe, dataset, progress)


def _recipe(source: str, options: CheckOptions) -> Recipe:
    path = Path(source)
    given = {key: value for key, value in vars(options).items() if value is not None}
    if path.suffix not in {".yaml", ".yml"} or is_folder(source):
        return recipe_from({"data": {"root": source, **given}}, source="the command line")
    if given:
        raise UsageError(
            f"is a recipe, which says itself what {' and '.join(given)} are",
            where=source,
            hint="Leave the options out, or give the folder of images instead of the recipe.",
        )
    return load_recipe(path)


def _refuse_val_folder(recipe: Recipe, source: str) -> None:
    """Raise UsageError where val has a folder, so that nothing is cut from train."""
    if (folder := val_folder_of(image_root(recipe))) is not None:
        raise UsageError(
            f"there is a {folder}/ folder, so --val-fraction would be ignored",
            where=source,
            hint=f"Leave --val-fraction out, or move {folder}/ away.",
        )


def _layout(error: DatasetError) -> Finding:
    where = f"{error.where}: " if error.where else ""
    return Finding("error", "layout", f"{where}{error.message}", error.hint or "")


def _check(recipe: Recipe, dataset: Dataset, progress: Progress) -> CheckResult:
    samples = [sample for split in dataset.splits.values() for sample in split]
    results = attempt_all(
        look_at, samples, workers=available_cores(), heard=lambda done, total: progress.step("images", done, total)
    )
    looks = [result for result in results if isinstance(result, Look)]
    bad = [bad_image(result) for result in results if isinstance(result, ImageError)]
    findings = [*bad_image_findings(bad, skipped=recipe.data.on_bad_image == "skip")]
    try:
        dataset = open_recipe_dataset(recipe, left_out={each.path for each in bad}) if bad else dataset
    except DatasetError as error:
        layout = _layout(error)
        findings.append(replace(layout, message=f"Without the bad images: {layout.message}"))
        dataset = _without(dataset, bad)
    try:
        seen = _seen(looks)
    except CacheError as error:
        seen = None
        findings.append(_unread_cache(error))
    findings += _findings(dataset, looks, seen)
    contents = contents_of(dataset, [look.facts for look in looks])
    return CheckResult(str(dataset.root), contents, with_level(findings, "error", "warning", "info"), seen)


def _unread_cache(error: CacheError) -> Finding:
    return Finding(
        "info",
        "cache-unread",
        f"Images were not compared by features, since the cache cannot be used: {error.message}.",
        f"Make it one that you may write to, or name another with {ENVIRONMENT}.",
    )


def _seen(looks: Sequence[Look]) -> Sight | None:
    """Return how a network sees the images that are not too small, where the cache knows; it is not computed here.

    Raises CacheError when the cache cannot be used.
    """
    descriptions = read_descriptions(cache_directory())
    sha256s = sorted({look.facts.sha256 for look in looks if look.fingerprint is not None})
    if not descriptions or not sha256s:
        return None
    from ftcli.engine.embeddings import stored_directions  # torch, which few checks need

    return stored_directions(sha256s, descriptions)


def _findings(dataset: Dataset, looks: Sequence[Look], seen: Sight | None) -> list[Finding]:
    sha256_of = {look.facts.name: look.facts.sha256 for look in looks}
    prints = {look.facts.name: look.fingerprint for look in looks if look.fingerprint is not None}
    copies = tuple(near_duplicate_findings(dataset, prints, sha256_of))
    known = {(case.files[0], case.files[1]) for finding in copies for case in finding.cases}
    return [
        *content_findings(dataset, sha256_of),
        *copies,
        *(look_alike_findings(dataset, seen, sha256_of, known=known) if seen else ()),
        *appearance_findings(looks),
        *stray_findings(dataset),
    ]


def _without(dataset: Dataset, bad: Sequence[BadImage]) -> Dataset:
    """Return the dataset without its bad images, which leave too few to open it as if they were not there."""
    names = {each.path for each in bad}
    splits = {
        split: tuple(sample for sample in samples if sample.name not in names)
        for split, samples in dataset.splits.items()
    }
    return replace(dataset, splits=splits)
