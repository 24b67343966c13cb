"""Networks with several classifiers, through the real command line."""

import json
from pathlib import Path

import pytest
from helpers.support import Ftcli


@pytest.mark.parametrize("name", ["timm/levit_128s", "timm/repvit_m1"])
def test_a_network_with_several_classifiers_is_trained_resumed_and_evaluated(
    ftcli: Ftcli, tiny: Path, name: str
) -> None:
    recipe = Path("recipe.yaml")
    recipe.write_text(
        f"data: {{root: {tiny}, image_size: 64, batch_size: 9, workers: 0}}\n"
        f"model: {{name: {name}, weights: none}}\nstrategy: {{kind: feature-extract}}\nepochs: 1\nreport: false\n"
    )
    ftcli("train", recipe, "--name", "run")
    resumed = ftcli("resume", "runs/run", "epochs=2", "--json")
    scored = ftcli("eval", "runs/run", "--json")
    best = json.loads(resumed.out)["metrics"]
    assert json.loads(scored.out)["metrics"]["accuracy"] == pytest.approx(best["accuracy"], abs=1e-5)
    cached = [json.loads(line)["cached"] for line in Path("runs/run/metrics.jsonl").read_text().splitlines()]
    assert cached == [True, True]
    recipe.write_text(recipe.read_text().replace("feature-extract}\nepochs: 1", "feature-extract, solver: lbfgs}"))
    refused = ftcli("train", recipe, "--name", "fitted", code=2)
    assert "2 classifiers" in refused.err
    assert not Path("runs/fitted").exists()
