"""A recipe that trains in a second, and a way to act after one of its epochs."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcli.errors import StoppedAtOnce
from ftcli.report.progress import LineProgress


@pytest.fixture
def recipe(tiny: Path) -> Path:
    """Three epochs: the head alone, then one more group."""
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 8, workers: 0, views: 1}}\n"
        "model: {name: squeezenet1_1, weights: none}\n"
        "strategy: {kind: fine-tune, lr: {head: 1e-2, 'features.1[12]': 1e-3}, head_epochs: 1}\n"
        "epochs: 3\n"
    )
    return path


@pytest.fixture
def after_epoch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call `do`, by default Ctrl-C, after an epoch is written and tracked; epoch None never."""

    def after(epoch: int | None, do: Callable[[], object] | None = None) -> None:
        def shown(_progress: object, record: Any, *, epochs: int, best: bool) -> None:
            if record.epoch == epoch:
                if do is None:
                    raise StoppedAtOnce(signal.SIGINT)
                do()

        monkeypatch.setattr(LineProgress, "epoch", shown)

    return after
