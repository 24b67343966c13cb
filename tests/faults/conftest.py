"""The recipe and the checks of run directories that tests of faults share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftcli.runs.directory import open_run


@pytest.fixture
def recipe(tiny: Path) -> str:
    """Two epochs of a small network."""
    Path("recipe.yaml").write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 6, workers: 0, views: 2}}\n"
        "model: {name: squeezenet1_1, weights: none}\noptimizer: {kind: adam}\nepochs: 2\n"
        "strategy: {kind: fine-tune, lr: {head: 1e-2, features.12: 1e-3}}\n"
    )
    return "recipe.yaml"


class Runs:
    """Checks of run directories for tests of faults, as a fixture since tests are not a package."""

    @staticmethod
    def assert_valid(run: Path) -> None:
        """Check that every file of a stopped run can be read."""
        from ftcli.runs.checkpoint import load_checkpoint
        from ftcli.runs.predictions_file import read_predictions

        opened = open_run(run)
        records = list(opened.records()) if opened.metrics.exists() else []
        if opened.last.exists():
            assert load_checkpoint(opened.last).info.epoch - len(records) in {0, 1}
        if opened.best.exists():
            assert load_checkpoint(opened.best).info.epoch <= len(records)
        if opened.predictions("val").exists():
            assert len(read_predictions(opened.predictions("val"))) == 12


@pytest.fixture
def runs() -> type[Runs]:
    return Runs
