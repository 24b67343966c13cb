"""Wires several seeds: one run for each, below one directory, and the spread of what came of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ftcli.commands.prepare import Preparation, prepare, refuse_among_images
from ftcli.commands.resume import check_raised, raised_keys, resume_run, resume_with, shared_recipe
from ftcli.commands.train import begin, get_ready, train_recipe
from ftcli.commands.training_run import RunPlace, TrainResult, place_of, resume_hint
from ftcli.engine.interrupt import Supervision
from ftcli.errors import FtcliError
from ftcli.evaluation.compare.replicates import Spread, spread_of
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import load_recipe, recipe_from, recipe_text
from ftcli.records import SCHEMA, Gate
from ftcli.runs.create import check_made, put_back
from ftcli.runs.directory import RunDirectory, open_run
from ftcli.runs.lock import Held, exclusive
from ftcli.runs.predictions_file import read_predictions
from ftcli.runs.seeds_directory import SeedsDirectory, check_seeds_free, create_seeds, holds_seeds
from ftcli.tracking.trackers import check_installed


@dataclass(frozen=True)
class SeedsResult:
    """What came of the seeds: a result for each that has begun, and the spread of metrics over those that finished."""

    run: Path
    seeds: tuple[int, ...]
    results: tuple[TrainResult, ...]
    spread: dict[str, Spread]
    remark: str | None = None

    @property
    def finished(self) -> bool:
        """Whether every seed's run is finished."""
        return len(self.results) == len(self.seeds) and all(result.finished for result in self.results)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """What the recipe expects of each run."""
        return tuple(gate for result in self.results for gate in result.gates)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What the recipe, which all runs share, expects of other images, by name."""
        return tuple(dict.fromkeys(name for result in self.results for name in result.unchecked))

    def to_json(self) -> dict[str, Any]:
        """Return what `train --json` prints."""
        return {
            "schema": SCHEMA,
            "run": str(self.run),
            "finished": self.finished,
            "seeds": list(self.seeds),
            "metrics": {name: asdict(each) for name, each in self.spread.items()},
            "runs": [result.to_json() for result in self.results],
        }


def load_for_training(config: Path, overrides: Sequence[str], seeds: tuple[int, ...] | None) -> Recipe:
    """Read a recipe; `seeds` stand in place of its own. Raises RecipeError, and UsageError for a missing tracker."""
    recipe = load_recipe(config, overrides)
    check_installed(recipe.tracking)
    if seeds is None:
        return recipe
    values = {key: value for key, value in recipe.model_dump(mode="json").items() if key != "seed"}
    return recipe_from({**values, "seeds": list(seeds)}, source="--seeds")


def train_runs(recipe: Recipe, config: Path, *, place: RunPlace, supervision: Supervision) -> TrainResult | SeedsResult:
    """Train what the recipe of the file `config` asks for: one run, or one for each seed. Raises FtcliError."""
    train = train_recipe if recipe.seeds is None else train_seeds
    return train(recipe, config, place=place, supervision=supervision)


def resume_runs(path: Path, overrides: Sequence[str], *, supervision: Supervision) -> TrainResult | SeedsResult:
    """Train what is left of a run, or of those of several seeds. Raises FtcliError."""
    put_back(path)
    resume = resume_seeds if holds_seeds(path) else resume_run
    return resume(path, overrides, supervision=supervision)


def train_seeds(recipe: Recipe, config: Path, *, place: RunPlace, supervision: Supervision) -> SeedsResult:
    """Train a recipe once for each of its seeds.

    Wrong recipes and folders are found before the directory is made, wrong images before the first run is. Raises
    FtcliError.
    """
    assert recipe.seeds is not None, "a recipe with several seeds"
    directory, first = SeedsDirectory(place_of(recipe, config, place)), recipe.seeds[0]
    check_seeds_free(directory, overwrite=place.overwrite)
    preparation = prepare(recipe)
    refuse_among_images(directory.path, preparation.dataset)
    for sentence in preparation.notices:
        supervision.progress.notice(sentence)

    def of_seed(seed: int) -> Preparation:
        return replace(preparation, recipe=preparation.recipe.of_seed(seed))

    ready = {first: get_ready(directory.run(first), of_seed(first), supervision)}
    made = create_seeds(directory, recipe.seeds, recipe_text(preparation.recipe), overwrite=place.overwrite)

    def train(seed: int, supervision: Supervision) -> TrainResult:
        if seed not in ready:
            ready[seed] = get_ready(directory.run(seed), of_seed(seed), supervision)
        return begin(ready.pop(seed), overwrite=False)

    with exclusive(directory) as held:
        check_made(directory, made)
        return _each(directory, recipe.seeds, train, supervision, held)


def resume_seeds(path: Path, overrides: Sequence[str], *, supervision: Supervision) -> SeedsResult:
    """Train what is left of the runs of several seeds. Raises as `resume_run` does, before any run goes on."""
    directory = SeedsDirectory(path)
    with exclusive(directory) as held:
        raised = _raise(directory, overrides)

        def go_on(seed: int, supervision: Supervision) -> TrainResult:
            run = directory.run(seed)
            if run.path.is_dir():
                return resume_with(open_run(run.path), raised.of_seed(seed), supervision)
            return begin(get_ready(run, prepare(raised.of_seed(seed)), supervision), overwrite=False)

        return _each(directory, directory.seeds(), go_on, supervision, held)


def _raise(directory: SeedsDirectory, overrides: Sequence[str]) -> Recipe:
    """Return the recipe that all seeds go on with, having written it down where it has more epochs or patience."""
    recipe, raised = shared_recipe(directory), shared_recipe(directory, overrides)
    if raised_keys(recipe, raised):
        for seed in directory.seeds():
            if directory.run(seed).path.is_dir():
                check_raised(open_run(directory.run(seed).path), raised.of_seed(seed))
        directory.write_summary(directory.seeds())
        directory.write_recipe(recipe_text(raised))
    return raised


_Train = Callable[[int, Supervision], TrainResult]


def _each(
    directory: SeedsDirectory, seeds: Sequence[int], train: _Train, supervision: Supervision, held: Held
) -> SeedsResult:
    """Train seed after seed, until one is not finished because the time is up; write the summary after each."""
    hint = resume_hint(directory.path)
    results: list[TrainResult] = []
    result = SeedsResult(directory.path, tuple(seeds), (), {})
    for seed in seeds:
        held.check()
        supervision.progress.stage(f"seed {seed}, {seeds.index(seed) + 1} of {len(seeds)}")
        try:
            results.append(train(seed, Supervision(supervision.progress, supervision.clock.from_now())))
        except FtcliError as error:
            if error.hint is not None:
                error.hint = error.hint.replace(resume_hint(directory.run(seed).path), hint)
            raise
        gc.collect()  # a network refers to itself, and would stay beside that of the next seed
        held.check()
        result = _result(directory, seeds, results)
        directory.write_summary(seeds, {key: result.to_json()[key] for key in ("finished", "metrics")})
        if not results[-1].finished:
            remark = f"the time is up in the run of seed {seed}. {hint}"
            return SeedsResult(result.run, result.seeds, result.results, result.spread, remark)
    return result


def _result(directory: SeedsDirectory, seeds: Sequence[int], results: Sequence[TrainResult]) -> SeedsResult:
    done = [result.run for result in results if result.finished]
    predictions = [read_predictions(RunDirectory(run).predictions("val")) for run in done]
    return SeedsResult(directory.path, tuple(seeds), tuple(results), spread_of(predictions) if done else {})
