"""Several seeds: one run for each below one directory, and how their figures spread."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.commands.prepare import Prepared, initial_network
from ftcli.commands.training_run import TrainingRun, TrainResult
from ftcli.evaluation.compare.replicates import Spread, spread_of
from ftcli.interrupt import Deadline
from ftcli.phrases import resume_hint
from ftcli.recipe.loading import recipe_text
from ftcli.records import SCHEMA, Gate, Progress
from ftcli.runs.create import check_made
from ftcli.runs.directory import RunDirectory
from ftcli.runs.lock import RunLock, exclusive
from ftcli.runs.predictions_file import read_predictions
from ftcli.runs.seeds_directory import SeedsDirectory, create_seeds

if TYPE_CHECKING:  # torch, which wrong recipes and names must not wait for
    from ftcli.model.network import Network


@dataclass(frozen=True)
class SeedsResult:
    """What came of several seeds: a result for each that has begun, and the spread over those that finished."""

    run: Path
    seeds: tuple[int, ...]
    results: tuple[TrainResult, ...]
    spread: dict[str, Spread]
    remark: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the runs of all seeds are finished."""
        return len(self.results) == len(self.seeds) and all(result.finished for result in self.results)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """What the recipe expects of each run."""
        return tuple(gate for result in self.results for gate in result.gates)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The names of what the recipe, which all runs share, expects of other images."""
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


def train_seeds(
    directory: SeedsDirectory,
    prepared: Prepared,
    network: Network,
    *,
    overwrite: bool,
    progress: Progress,
    deadline: Deadline,
) -> SeedsResult:
    """Train a recipe once for each of its seeds; `network` is that of the first. Raises FtcliError.

    The first run is made ready before the directory exists, so that what is wrong is found before.
    """
    seeds = prepared.recipe.seeds
    assert seeds is not None, "a recipe with several seeds"

    def new_run(seed: int, network: Network, deadline: Deadline) -> TrainingRun:
        return TrainingRun(
            directory.run(seed),
            prepared.of_seed(seed),
            network,
            progress=progress,
            deadline=deadline,
            resume_path=directory.path,
        )

    ready = {seeds[0]: new_run(seeds[0], network, deadline)}
    del network  # one at a time
    made = create_seeds(directory, seeds, recipe_text(prepared.recipe), overwrite=overwrite)

    def train(seed: int, deadline: Deadline) -> TrainResult:
        if seed not in ready:
            recipe = prepared.recipe.of_seed(seed)
            ready[seed] = new_run(seed, initial_network(recipe, prepared.dataset.classes, progress), deadline)
        with ready.pop(seed).create() as run:
            for epoch in run.epochs():
                run.write(epoch)
            return run.finish()

    with exclusive(directory) as lock:
        check_made(directory, made)
        return train_each(directory, seeds, train, lock=lock, progress=progress, deadline=deadline)


def train_each(
    directory: SeedsDirectory,
    seeds: Sequence[int],
    train: Callable[[int, Deadline], TrainResult],
    *,
    lock: RunLock,
    progress: Progress,
    deadline: Deadline,
) -> SeedsResult:
    """Train seed after seed, until one is not finished because the time is up; write the summary after each."""
    results: list[TrainResult] = []
    result = SeedsResult(directory.path, tuple(seeds), (), {})
    for number, seed in enumerate(seeds, start=1):
        lock.check()
        progress.stage(f"seed {seed}, {number} of {len(seeds)}")
        results.append(train(seed, deadline.from_now()))
        gc.collect()  # a network refers to itself, and would stay in memory with that of the next seed
        lock.check()
        result = _result(directory, seeds, results)
        directory.write_summary(seeds, {key: result.to_json()[key] for key in ("finished", "metrics")})
        if not results[-1].finished:
            return replace(result, remark=f"the time is up in the run of seed {seed}. {resume_hint(directory.path)}")
    return result


def _result(directory: SeedsDirectory, seeds: Sequence[int], results: Sequence[TrainResult]) -> SeedsResult:
    done = [result.run for result in results if result.finished]
    predictions = [read_predictions(RunDirectory(run).predictions("val")) for run in done]
    return SeedsResult(directory.path, tuple(seeds), tuple(results), spread_of(predictions) if done else {})
