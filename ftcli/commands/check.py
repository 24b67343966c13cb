"""`ftcli check`: everything that is wrong with a folder of images, or with a recipe's dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ftcli.cache.key import CacheError, cache_directory, read_descriptions
from ftcli.commands.outputs import make_folder
from ftcli.commands.prepare import earlier_images, image_root, kept_together, open_recipe_dataset
from ftcli.data.builtin import DIGITS
from ftcli.data.checks.contents import Contents, contents_of
from ftcli.data.checks.findings import Finding, with_level
from ftcli.data.checks.images import check_images, fingerprints_of
from ftcli.data.checks.look_alikes import Embeddings
from ftcli.data.checks.structure import layout_findings
from ftcli.data.checks.table import Evidence, all_findings
from ftcli.data.class_folders import is_folder
from ftcli.data.dataset import Dataset, val_folder_of
from ftcli.data.workers import available_cores
from ftcli.errors import DataError, DatasetError, UsageError
from ftcli.phrases import count
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_from
from ftcli.records import SCHEMA, Progress
from ftcli.runs.files import write_text


@dataclass(frozen=True)
class CheckResult:
    """The contents and the findings of a dataset; no contents where its folders cannot be read as one.

    `embeddings` are the features of the images, if the cache has them from a run that was trained on them, or if they
    were to be computed. `sha256_of` has the hash of each readable image by name.
    """

    root: str
    contents: Contents | None
    findings: tuple[Finding, ...]
    embeddings: Embeddings | None = None
    sha256_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """3, as for wrong data, with any error; else 0."""
        return DataError.exit_code if with_level(self.findings, "error") else 0

    def to_json(self) -> dict[str, Any]:
        """Return what `check --json` prints."""
        given = self.embeddings
        features = None if given is None else {"model": given.model, "images": len(given.directions)}
        return {
            "schema": SCHEMA,
            "root": self.root,
            "errors": len(with_level(self.findings, "error")),
            "warnings": len(with_level(self.findings, "warning")),
            "contents": self.contents and self.contents.to_json(),
            "features": features,
            "findings": [finding.to_json() for finding in self.findings],
        }


def check_dataset(source: str, given: Mapping[str, Any], *, features: bool = False, progress: Progress) -> CheckResult:
    """Check every image of a folder, or of the dataset that a recipe names.

    `given` has the keys of `data` that a recipe would have for a folder. With `features`, those of the built-in network
    are computed where the cache lacks them.
    Raises DatasetError for a missing folder, and UsageError for options that a recipe or a val folder contradicts.
    """
    recipe = _recipe(source, given)
    if recipe.data.root != DIGITS and not is_folder(recipe.data.root):
        open_recipe_dataset(recipe)  # raises, and says what is there instead
    try:
        if "val_fraction" in given:
            folder = val_folder_of(image_root(recipe))
            if folder is not None:  # nothing is cut from train
                message = f"there is a {folder}/ folder, so --val-fraction would be ignored"
                raise UsageError(message, where=source, hint=f"Leave --val-fraction out, or move {folder}/ away.")
        dataset = open_recipe_dataset(recipe)
    except DatasetError as error:
        return CheckResult(recipe.data.root, None, tuple(layout_findings(error)))
    progress.stage(f"checking {count(sum(map(len, dataset.splits.values())), 'image')}")
    evidence = _evidence(recipe, dataset, progress, features=features)
    findings = with_level(all_findings(evidence), "error", "warning", "info")
    contents = contents_of(evidence.dataset, [image.facts for image in evidence.images])
    return CheckResult(str(dataset.root), contents, findings, evidence.embeddings, evidence.sha256_of)


def write_page(result: CheckResult, path: Path) -> None:
    """Write the page of a result to a path that `check_output` let pass. Raises RunError."""
    from ftcli.report.html.check import check_page

    make_folder(path)
    page = check_page(result.root, result.contents, result.findings, result.embeddings, result.sha256_of)
    write_text(path, page)


def _recipe(source: str, given: Mapping[str, Any]) -> Recipe:
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"} or is_folder(source):
        return recipe_from({"data": {"root": source, **given}}, source="the command line")
    if given:
        hint = "Leave the options out, or give the folder of images instead of the recipe."
        raise UsageError(f"this is a recipe, which sets {' and '.join(given)} itself", where=source, hint=hint)
    return load_recipe(path)


def _evidence(recipe: Recipe, dataset: Dataset, progress: Progress, *, features: bool) -> Evidence:
    """Decode every image, and collect what the checks need to know."""
    samples = [sample for split in dataset.splits.values() for sample in split]
    images, bad = check_images(
        samples, workers=available_cores(), on_image=lambda done, total: progress.step("images", done, total)
    )
    sha256_of = {image.facts.name: image.facts.sha256 for image in images}
    alike = kept_together(recipe, dataset, sha256_of, fingerprints_of(images))
    usable, layout_error = _as_trained(recipe, dataset, {each.path for each in bad}, alike)
    path_of = {sample.name: sample.path for sample in samples}
    contents = {image.facts.sha256: path_of[image.facts.name] for image in images if not image.one_colour}
    embeddings, cache_problem = _embeddings(contents, progress if features else None)
    return Evidence(
        usable,
        sha256_of,
        images=images,
        bad=bad,
        skips_bad=recipe.data.on_bad_image == "skip",
        layout_error=layout_error,
        embeddings=embeddings,
        cache_problem=cache_problem,
        earlier=earlier_images(recipe),
    )


def _as_trained(
    recipe: Recipe, dataset: Dataset, bad: set[str], alike: Mapping[str, str]
) -> tuple[Dataset, DatasetError | None]:
    """Return the dataset without its bad images and with the cut of training, and the error if there is no such cut.

    It is opened again, as training does, since leaving images out can change which ones become val, as copies can.
    Where that fails, a class without a good image for example, the splits stay and the bad images are dropped.
    """
    if not bad and not alike:
        return dataset, None
    try:
        return open_recipe_dataset(recipe, left_out=bad, alike=alike), None
    except DatasetError as error:
        splits = {
            split: tuple(sample for sample in samples if sample.name not in bad)
            for split, samples in dataset.splits.items()
        }
        return replace(dataset, splits=splits), error


def _embeddings(contents: Mapping[str, Path], computing: Progress | None) -> tuple[Embeddings | None, str | None]:
    """Return the features that the cache has of images, and why it cannot be used, if it cannot.

    `contents` has a file for each hash. Missing features are computed only where there is a progress to report it to.
    """
    sha256s = sorted(contents)
    try:
        descriptions = read_descriptions(cache_directory())
        if not sha256s or not (descriptions or computing):
            return None, None
        from ftcli.engine.embeddings import store_features, stored_directions  # torch, which few checks need

        if computing is not None:
            store_features(contents, on_rows=lambda done, total: computing.step("features", done, total))
            descriptions = read_descriptions(cache_directory())
        return stored_directions(sha256s, descriptions), None
    except CacheError as error:
        return None, error.message
