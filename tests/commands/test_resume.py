"""Interrupted and resumed equals uninterrupted, bitwise, through the real command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from same_runs import assert_same_runs
from support import Ftcli

from ftcli.report.progress import LineProgress

STRATEGIES = {
    "feature-extract": "{kind: feature-extract, lr: 1e-2}",
    "fine-tune": "{kind: fine-tune, lr: {head: 1e-2, features.12: 1e-3}, head_epochs: 1}",
    "gradual": "{kind: gradual, lr: 1e-2, epochs_per_phase: 1, unfreeze: 2}",
    "phases": "{kind: phases, phases: [{epochs: 2, lr: {head: 1e-2}}, {epochs: 2, lr: {features.12: 1e-3}}]}",
}
MODEL = "squeezenet1_1"  # small, with dropout in its head


@dataclass(frozen=True)
class Interruption:
    """Makes the process stop, as by Ctrl-C, once an epoch is written down."""

    monkeypatch: pytest.MonkeyPatch

    def after(self, epoch: int | None) -> None:
        def stop(_progress: object, record: Any, *, best: bool) -> None:
            if record.epoch == epoch:
                raise KeyboardInterrupt

        self.monkeypatch.setattr(LineProgress, "epoch", stop)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interruption:
    return Interruption(monkeypatch)


def write_recipe(tiny: Path, strategy: str, *extra: str) -> Path:
    lines = [
        f"data: {{root: {tiny}, image_size: 32, batch_size: 4, workers: 0, views: 2}}",
        f"model: {{name: {MODEL}, weights: none}}",
        f"strategy: {STRATEGIES[strategy]}",
        *([] if strategy == "phases" else ["epochs: 4"]),
        "optimizer: {kind: adam}",
        *extra,
    ]
    path = Path("recipe.yaml")
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("cache", ["auto", "off"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_interrupted_after_every_epoch_is_bitwise_the_uninterrupted_one(
    ftcli: Ftcli, tiny: Path, interrupt: Interruption, strategy: str, cache: str
) -> None:
    recipe = write_recipe(tiny, strategy)
    ftcli("train", recipe, "--name", "whole", f"data.cache={cache}")
    interrupt.after(1)
    ftcli("train", recipe, "--name", "parts", f"data.cache={cache}", code=130)
    for epoch in (2, 3, 4):
        interrupt.after(epoch)
        ftcli("train", "--resume", "runs/parts", code=130)
    assert not Path("runs/parts/summary.json").exists()
    outcome = ftcli("train", "--resume", "runs/parts")
    assert outcome.out.splitlines()[-1] == "runs/parts"
    assert_same_runs(Path("runs/whole"), Path("runs/parts"))
