"""Runs that an earlier version wrote are evaluated, compared, reported and resumed like those of today."""

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


def test_an_earlier_run_that_was_interrupted_ends_as_the_uninterrupted_one(ftcli: Ftcli) -> None:
    resumed = ftcli("resume", "runs/interrupted", "--json").json
    assert (resumed["finished"], resumed["epochs"]) == (True, 4)
    a, b = (read_predictions(Path(f"runs/{run}/predictions/val.csv")) for run in ("interrupted", "finished"))
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-4)
    assert json.loads(Path("runs/interrupted/metrics.jsonl").read_text().splitlines()[0])["epoch"] == 1


def test_earlier_seeds_are_trained_further(ftcli: Ftcli) -> None:
    resumed = ftcli("resume", "runs/seeds", "epochs=3", "--json").json
    assert [run["epochs"] for run in resumed["runs"]] == [3, 3]
