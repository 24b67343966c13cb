"""Logging to MLflow: one MLflow run per run, even if it is resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.errors import UsageError
from ftcli.records import SCHEMA, EpochRecord, RunSummary
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import read_json, write_json
from ftcli.runs.seeds_directory import holds_seeds
from ftcli.tracking.figures import EPOCH_MARK, best_figures, epoch_figures, flat_recipe

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # not 7: if the server is gone, a run would wait for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds, not 120
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""MLflow's own settings, unless the environment has them."""

_LONGEST_VALUE = 6000
_LARGEST_BATCH = 100
"""MLflow's limits: characters in a param, and params in a request."""


def open_mlflow(run: RunDirectory) -> MlflowTracker:
    """Open the store at MLFLOW_TRACKING_URI. Raises UsageError if it cannot be opened."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before the import, which already sends usage data
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.tracking import MlflowClient

        return MlflowTracker(run, MlflowClient())
    except Exception as error:
        raise UsageError(
            f"cannot open the MLflow store: {error}",
            where="tracking",
            hint="Set MLFLOW_TRACKING_URI to a server (http://localhost:5000) or a store (sqlite:///mlflow.db, after "
            "pip install 'ftcli[mlflow]'), or remove mlflow from `tracking`.",
        ) from error


class MlflowTracker:
    """Logs to one MLflow run, whose id is in the run directory. Raises whatever MLflow raises."""

    def __init__(self, run: RunDirectory, client: MlflowClient) -> None:
        self._run = run
        self._client = client
        self._id = ""

    def begin(self, recipe: Mapping[str, Any], records: Sequence[EpochRecord]) -> None:
        """Open the MLflow run, or create it; log the epochs that it lacks."""
        found = self._found()
        if found is None:
            found = self._client.create_run(_experiment(self._client), run_name=self._run.path.name)
            write_json(self._run.mlflow, {"schema": SCHEMA, "run_id": found.info.run_id})
        self._id = found.info.run_id
        self._client.update_run(self._id, status="RUNNING")
        self._log_recipe(recipe, found.data.params)
        self._log_files(self._run.recipe, self._run.plan)
        logged = {metric.step for metric in self._client.get_metric_history(self._id, EPOCH_MARK)}
        for record in records:
            if record.epoch not in logged:
                self.epoch(record)

    def epoch(self, record: EpochRecord) -> None:
        """Log an epoch's figures in one request."""
        self._log_figures(epoch_figures(record), step=record.epoch)

    def finish(self, summary: RunSummary) -> None:
        """Log the best epoch's figures and the run's files, except weights."""
        self._log_figures(best_figures(summary), step=summary.epochs)
        self._log_files(self._run.summary, self._run.predictions("val"), self._run.report)
        self._client.set_terminated(self._id, "FINISHED")

    def stop(self, *, failed: bool) -> None:
        """Mark the MLflow run as failed or killed."""
        self._client.set_terminated(self._id, "FAILED" if failed else "KILLED")

    def _found(self) -> Run | None:
        """Return the MLflow run of an earlier command; None if this store has none, or deleted it."""
        from mlflow.exceptions import MlflowException

        if not self._run.mlflow.is_file():
            return None
        try:
            found = self._client.get_run(str(read_json(self._run.mlflow).get("run_id")))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _log_recipe(self, recipe: Mapping[str, Any], logged: Mapping[str, str]) -> None:
        """Log the recipe as params; since params cannot change, a value raised by a resume becomes a tag."""
        from mlflow.entities import Param, RunTag

        texts = {key: str(value)[:_LONGEST_VALUE] for key, value in flat_recipe(recipe).items()}
        raised = {f"ftcli.raised.{key}": text for key, text in texts.items() if logged.get(key, text) != text}
        tags = [RunTag(key, text) for key, text in {**_places(self._run.path), **raised}.items()]
        self._client.log_batch(self._id, tags=tags)
        params = [Param(key, text) for key, text in texts.items() if key not in logged]
        for first in range(0, len(params), _LARGEST_BATCH):
            self._client.log_batch(self._id, params=params[first : first + _LARGEST_BATCH])

    def _log_figures(self, figures: Mapping[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in figures.items()])

    def _log_files(self, *files: Path) -> None:
        for file in filter(Path.is_file, files):
            folder = file.parent.relative_to(self._run.path).as_posix()
            self._client.log_artifact(self._id, str(file), None if folder == "." else folder)


def _experiment(client: MlflowClient) -> str:
    """Return the id of the environment's experiment, as MLflow itself finds it; create it if needed."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if not name:
        return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _places(run: Path) -> dict[str, str]:
    """Return tags with the run directory and, for one of several seeds, the directory of all."""
    run = run.absolute()
    of_all = {"ftcli.seeds_directory": str(run.parent)} if holds_seeds(run.parent) else {}
    return {"mlflow.source.name": "ftcli", "ftcli.run_directory": str(run), **of_all}
