"""Runs of an earlier version are evaluated, compared and reported like those of today, and not trained further."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.support import Ftcli

from ftcli.runs.predictions_file import read_predictions

EARLIER = Path(__file__).parents[1] / "fixtures" / "earlier"


@pytest.fixture(autouse=True)
def _the_earlier_runs() -> None:
    shutil.copytree(EARLIER, ".", dirs_exist_ok=True)


def test_an_earlier_run_and_its_checkpoint_score_as_they_did(ftcli: Ftcli) -> None:
    recorded = json.loads(Path("runs/finished/summary.json").read_text())["metrics"]
    for target in ("runs/finished", "runs/finished/checkpoints/best.safetensors"):
        scored = ftcli("eval", target, "--predictions", "again.csv", "--json").json
        for name, interval in recorded.items():
            assert scored["metrics"][name]["value"] == pytest.approx(interval["value"], abs=1e-5)
        again, before = (read_predictions(Path(file)) for file in ("again.csv", "runs/finished/predictions/val.csv"))
        assert (again.sha256, again.classes) == (before.sha256, before.classes)
        np.testing.assert_allclose(again.probabilities, before.probabilities, atol=1e-5)


def test_earlier_runs_and_seeds_are_compared_and_reported(ftcli: Ftcli) -> None:
    compared = ftcli("compare", "runs/finished", "runs/seeds", "--json").json
    assert compared["runs"] == ["runs/finished", "runs/seeds/seed-0", "runs/seeds/seed-1"]
    assert ftcli("report", "runs/finished", "runs/seeds", "--out", "page.html").code == 0
    for run in ("runs/finished", "runs/seeds"):
        page = Path(ftcli("report", run).out.strip())
        assert "test_efficientnet" in page.read_text()


def files_below(folder: str) -> dict[str, bytes]:
    """Return the content of every file except locks, by path."""
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize(
    ("run", "overrides"),
    [("runs/interrupted", []), ("runs/finished", ["epochs=9"]), ("runs/seeds", ["epochs=9"])],
)
def test_an_earlier_run_with_epochs_left_to_train_is_refused_before_anything_is_written(
    ftcli: Ftcli, run: str, overrides: list[str]
) -> None:
    before = files_below("runs")
    refused = ftcli("resume", run, *overrides, "--json", code=2)
    error = json.loads(refused.err.splitlines()[-1])["error"]
    assert (error["kind"], error["where"].startswith(run)) == ("run-directory", True)
    assert "model.weights" in error["message"]
    assert files_below("runs") == before


def test_seeds_of_which_one_is_missing_are_not_trained_by_two_versions(ftcli: Ftcli) -> None:
    shutil.rmtree("runs/seeds/seed-1")
    before = files_below("runs")
    assert "seed-0" in ftcli("resume", "runs/seeds", code=2).err
    assert files_below("runs") == before


@pytest.mark.parametrize("run", ["runs/finished", "runs/seeds"])
def test_a_finished_earlier_run_is_shown_again_by_resume(ftcli: Ftcli, run: str) -> None:
    assert ftcli("resume", run, "--json").json["finished"]


def test_weights_of_an_earlier_run_start_a_new_one(ftcli: Ftcli) -> None:
    trained = ftcli("train", "recipe.yaml", "model.weights=runs/interrupted", "epochs=1", "--name", "new", "--json")
    assert trained.json["finished"]
