"""Reading a whole run directory, as reports need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcli.data.checks.findings import Finding
from ftcli.data.inspection import BadImage
from ftcli.engine.monitor import Watch
from ftcli.evaluation.predictions import Predictions
from ftcli.plan import Plan
from ftcli.records import EpochRecord, RunSummary
from ftcli.runs.dataset_file import read_dataset_json, read_findings, read_skipped
from ftcli.runs.directory import RunDirectory, open_run
from ftcli.runs.environment import read_environment
from ftcli.runs.files import damaged, read_json, read_text
from ftcli.runs.predictions_file import read_predictions


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """The contents of a run directory; `summary` is None for an unfinished run.

    `parameters` counts those of each group. `dataset` and `environment` are the JSON files of these names; `findings`
    (the most severe first) and `skipped` come from dataset.json.
    """

    path: Path
    recipe_text: str
    recipe: Mapping[str, Any]
    plan: Plan
    parameters: Mapping[str, int]
    records: tuple[EpochRecord, ...]
    predictions: Predictions
    summary: RunSummary | None
    dataset: Mapping[str, Any]
    findings: tuple[Finding, ...]
    skipped: tuple[BadImage, ...]
    environment: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the run's directory."""
        return self.path.resolve().name

    @property
    def best_epoch(self) -> int:
        """The epoch that made the predictions."""
        # A recipe without a monitor (L-BFGS) has a single epoch, so any metric finds it.
        watch = Watch(self.recipe.get("monitor", "val_accuracy"))
        for record in self.records:
            watch = watch.after(record)
        return watch.best_epoch

    @property
    def image_root(self) -> Path:
        """The images' folder; a relative one is searched here, then where training was started."""
        root = Path(self.dataset["root"])
        started = Path(self.environment.get("directory", ".")) / root
        return started if started.is_dir() and not root.is_dir() else root


def read_run(path: Path, predictions: Predictions | None = None) -> RecordedRun:
    """Read a run with at least one finished epoch; pass its `predictions` if they are known.

    Raises RunDirectoryError naming what is missing or damaged.
    """
    run = open_run(path)
    recipe = run.recipe_values()
    if not isinstance(recipe.get("model"), dict) or not isinstance(recipe["model"].get("name"), str):
        raise damaged(run.recipe, "does not name the model")
    if predictions is None:
        predictions = read_predictions(run.predictions("val"))
    plan, parameters = _plan(run)
    dataset = read_dataset_json(run)
    return RecordedRun(
        path=path,
        recipe_text=read_text(run.recipe),
        recipe=recipe,
        plan=plan,
        parameters=parameters,
        records=_records(run, plan),
        predictions=predictions,
        summary=run.read_summary() if run.summary.is_file() else None,
        dataset=dataset,
        findings=read_findings(run, dataset),
        skipped=read_skipped(run, dataset),
        environment=read_environment(run),
    )


def _plan(run: RunDirectory) -> tuple[Plan, dict[str, int]]:
    value = read_json(run.plan)
    try:
        return Plan.from_json(value), {group["name"]: int(group["parameters"]) for group in value["groups"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(run.plan, f"is not a plan: {error}") from error


def _records(run: RunDirectory, plan: Plan) -> tuple[EpochRecord, ...]:
    """Return the epochs. Raises RunDirectoryError without any, or if they do not fit the plan."""
    records = tuple(run.records())
    if not records:
        raise damaged(run.metrics, "has no finished epoch")
    if any(record.phase_index >= len(plan.phases) or set(record.lr) != set(plan.groups) for record in records):
        raise damaged(run.metrics, f"does not match the phases and groups of {run.plan.name}")
    return records
