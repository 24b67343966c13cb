"""Runs trained by the real command line, read back with MLflow's own client."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.support import Ftcli
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

RUN = Path("runs/a")


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store of files, which needs no database; MLflow allows it on request only."""
    environment = {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_TRACKING_URI": (Path.cwd() / "store").as_uri(),
        "MLFLOW_EXPERIMENT_NAME": "insects",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        # The tracker sets these itself; monkeypatch restores them after the test.
        **{f"MLFLOW_{name}": "" for name in ("DISABLE_TELEMETRY", "HTTP_REQUEST_TIMEOUT", "LOGGING_LEVEL")},
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    return MlflowClient()


def only_run(client: MlflowClient) -> Run:
    (run,) = client.search_runs([client.get_experiment_by_name("insects").experiment_id])
    return run


def curve(client: MlflowClient, run: Run, name: str) -> dict[int, float]:
    history = client.get_metric_history(run.info.run_id, name)
    assert len({metric.step for metric in history}) == len(history), "a step was logged twice"
    return {metric.step: metric.value for metric in history}


def records(run: Path = RUN) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_mlflow_gets_the_recipe_every_epoch_the_best_epoch_and_the_files(
    ftcli: Ftcli, recipe: Path, client: MlflowClient
) -> None:
    ftcli("train", recipe, "--name", "a", "tracking=[mlflow]")
    run = only_run(client)
    assert (run.info.run_name, run.info.status) == ("a", "FINISHED")
    assert run.info.run_id == json.loads((RUN / "mlflow.json").read_text())["run_id"]
    assert run.data.tags["ftcli.run_directory"] == str(RUN.absolute())
    assert run.data.params["optimizer.momentum"] == "0.9"
    assert json.loads(run.data.params["strategy.lr"]) == {"head": 1e-2, "features.1[12]": 1e-3}
    for name, of in {
        "train/accuracy": lambda record: record["train_accuracy"],
        "val/loss": lambda record: record["val"]["loss"],
        "lr/head": lambda record: record["lr"]["head"],
        "phase": lambda record: record["phase_index"],
    }.items():
        assert curve(client, run, name) == {record["epoch"]: of(record) for record in records()}, name
    assert curve(client, run, "frozen/features.12") == {1: 1, 2: 0, 3: 0}
    summary = json.loads((RUN / "summary.json").read_text())
    assert curve(client, run, "best/accuracy_high") == {3: summary["metrics"]["accuracy"]["high"]}
    kept = {item.path for folder in (None, "predictions") for item in client.list_artifacts(run.info.run_id, folder)}
    assert kept == {
        "recipe.yaml",
        "plan.json",
        "summary.json",
        "report.html",
        "predictions",
        "predictions/val.csv",
    }


def test_a_resumed_run_is_one_mlflow_run_with_every_epoch_once(
    ftcli: Ftcli, recipe: Path, client: MlflowClient, after_epoch: Callable[..., None]
) -> None:
    after_epoch(2)
    ftcli("train", recipe, "--name", "a", "tracking=[mlflow]", code=130)
    assert only_run(client).info.status == "KILLED"
    after_epoch(None)
    ftcli("train", "--resume", RUN, "epochs=4")
    run = only_run(client)
    assert run.info.status == "FINISHED"
    assert curve(client, run, "val/loss") == {record["epoch"]: record["val"]["loss"] for record in records()}
    assert len(records()) == 4
    assert (run.data.params["epochs"], run.data.tags["ftcli.raised.epochs"]) == ("3", "4")


def test_a_server_that_disappears_is_one_notice_and_gets_the_missing_epochs_after_a_resume(
    ftcli: Ftcli, recipe: Path, client: MlflowClient, after_epoch: Callable[..., None]
) -> None:
    after_epoch(1, lambda: shutil.move("store", "elsewhere"))
    outcome = ftcli("train", recipe, "--name", "a", "tracking=[mlflow]")
    assert outcome.err.count("mlflow failed and was disabled") == 1
    assert len(records()) == 3
    assert (RUN / "summary.json").is_file()
    shutil.rmtree("store", ignore_errors=True)
    shutil.move("elsewhere", "store")
    after_epoch(None)
    ftcli("train", "--resume", RUN, "epochs=4")
    assert list(curve(client, only_run(client), "train/loss")) == [1, 2, 3, 4]


def test_a_server_that_never_answers_does_not_stop_training(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:password@127.0.0.1:9")
    outcome = ftcli("train", recipe, "--name", "a", "epochs=2", "tracking=[mlflow]")
    assert outcome.err.count("warning: mlflow failed and was disabled") == 1
    assert "password" not in outcome.err
    assert len(records()) == 2


def test_a_store_that_cannot_be_opened_is_refused_before_training(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://nowhere")
    assert "MLFLOW_TRACKING_URI" in ftcli("train", recipe, "tracking=[mlflow]", code=2).err
    assert not Path("runs").exists()


def test_each_of_several_seeds_is_one_mlflow_run_tagged_with_their_directory(
    ftcli: Ftcli, recipe: Path, client: MlflowClient
) -> None:
    ftcli("train", recipe, "--name", "s", "--seeds", "0,1", "epochs=2", "tracking=[mlflow]")
    runs = client.search_runs([client.get_experiment_by_name("insects").experiment_id])
    assert {run.info.run_name: run.data.params["seed"] for run in runs} == {"seed-0": "0", "seed-1": "1"}
    assert {run.data.tags["ftcli.seeds_directory"] for run in runs} == {str(Path("runs/s").absolute())}


def test_mlflow_sends_no_usage_data() -> None:
    code = (
        "from pathlib import Path\nfrom ftcli.runs.directory import RunDirectory\n"
        "from ftcli.tracking.mlflow import open_mlflow\nopen_mlflow(RunDirectory(Path('a')))\n"
        "from mlflow.telemetry.client import get_telemetry_client\nprint(get_telemetry_client())"
    )
    # MLflow sends nothing if it detects a test.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTEST_CURRENT_TEST", "CI"}}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "None"
