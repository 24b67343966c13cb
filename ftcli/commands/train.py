"""`ftcli train`: a recipe to a new run directory, or to one run for each of several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ftcli.commands.prepare import initial_network, inspect, prepare, refuse_among_images
from ftcli.commands.seeds import SeedsResult, train_seeds
from ftcli.commands.training_run import TrainingRun, TrainResult
from ftcli.interrupt import Deadline
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import naming_places, parse_recipe, read_document, recipe_from
from ftcli.records import Progress
from ftcli.runs.create import check_free
from ftcli.runs.directory import RunDirectory, default_name
from ftcli.runs.seeds_directory import SeedsDirectory
from ftcli.tracking.trackers import check_installed


@dataclass(frozen=True)
class Target:
    """Where a run goes: `name` in `runs`, by default what recipe, time and seed say."""

    name: str | None = None
    runs: Path | None = None
    overwrite: bool = False

    def path(self, recipe: Recipe, source: Path) -> Path:
        """Return the directory of the run of a recipe file, or of the runs of its seeds."""
        runs = self.runs if self.runs is not None else Path(recipe.runs_dir)
        return runs / (self.name or default_name(source, recipe.seeds or recipe.seed, datetime.now().astimezone()))


def train(
    source: Path,
    overrides: Sequence[str],
    *,
    target: Target,
    seeds: Sequence[int] | None = None,
    progress: Progress,
    deadline: Deadline,
) -> TrainResult | SeedsResult:
    """Train what the recipe in the file `source` asks for; `seeds` replace its own.

    Whatever can be known to be wrong, and a tracker that is not installed, is found before the run directory is made.
    Raises FtcliError.
    """
    document = read_document(source)
    recipe = parse_recipe(document, overrides)
    check_installed(recipe.tracking)
    if seeds is not None:
        values = {key: value for key, value in recipe.model_dump(mode="json").items() if key != "seed"}
        recipe = recipe_from({**values, "seeds": list(seeds)}, source="--seeds")
    directory = RunDirectory(target.path(recipe, source))
    made = directory if recipe.seeds is None else SeedsDirectory(directory.path)
    check_free(made, overwrite=target.overwrite)
    with naming_places(document, overrides):
        prepared = prepare(recipe)
        refuse_among_images(directory.path, prepared.dataset)
        for text in prepared.notices:
            progress.notice(text)
        first = prepared if recipe.seeds is None else prepared.of_seed(recipe.seeds[0])
        network = initial_network(first.recipe, first.dataset.classes, progress)
    prepared = inspect(prepared, progress)
    if recipe.seeds is not None:
        return train_seeds(
            SeedsDirectory(directory.path),
            prepared,
            network,
            overwrite=target.overwrite,
            progress=progress,
            deadline=deadline,
        )
    new = TrainingRun(directory, prepared, network, progress=progress, deadline=deadline)
    with new.create(overwrite=target.overwrite) as run:
        for epoch in run.epochs():
            run.write(epoch)
        return run.finish()
