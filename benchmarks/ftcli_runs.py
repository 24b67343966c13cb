"""Running `ftcli train` on the benchmarks' recipes with a given cache."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Finished, run
from settings import WEIGHTS

FTCLI = str(Path(sys.executable).with_name("ftcli"))

_BEFORE = """\
data: {{root: {root}, batch_size: 32, augment: standard, views: 8}}
model: {{name: {model}, weights: {weights}}}
epochs: {epochs}
"""
STRATEGIES = {
    "head": "strategy: {kind: feature-extract, lr: 1e-2}\n",
    "finetune": "strategy: {kind: fine-tune, lr: 1e-2, unfreeze: 2, lr_decay: 0.3}\n",
    "gradual": "strategy: {kind: gradual, lr: 1e-2, lr_decay: 0.3, unfreeze: 2, epochs_per_phase: PER_PHASE}\n",
    "full": 'strategy: {kind: fine-tune, lr: {"*": 1e-4, head: 1e-3}}\n',
}


@dataclass(frozen=True)
class Run:
    """Cost, best val accuracy and seconds per epoch of one `ftcli train`."""

    finished: Finished
    accuracy: float
    epoch_seconds: tuple[float, ...]


def recipe_text(strategy: str, model: str, *, epochs: int, root: Path) -> str:
    """Return the recipe of one of STRATEGIES."""
    before = _BEFORE.format(root=json.dumps(str(root)), model=model, weights=WEIGHTS[model], epochs=epochs)
    return before + STRATEGIES[strategy].replace("PER_PHASE", str(phase_epochs(epochs)[0]))


def phase_epochs(epochs: int) -> tuple[int, int, int]:
    """Return the lengths of the three phases of gradual; the last gets the rest."""
    each = epochs // 3
    return each, each, epochs - 2 * each


def train(recipe: str, cache: Path, *, execute: Callable[..., Finished] = run) -> Run:
    """Train a recipe by the real command line in a separate process, into a temporary directory."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "recipe.yaml")
        config.write_text(recipe, encoding="utf-8")
        command = [FTCLI, "train", str(config), "--runs", folder, "--name", "run", "--quiet", "--json"]
        finished = execute(command, environment={"FTCLI_CACHE": str(cache)})
        lines = Path(folder, "run", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return Run(
        finished,
        accuracy=max(record["val"]["accuracy"] for record in records),
        epoch_seconds=tuple(record["seconds"] for record in records),
    )


@contextmanager
def fresh_cache() -> Iterator[Path]:
    """Yield an empty directory for FTCLI_CACHE, and remove it."""
    with tempfile.TemporaryDirectory(prefix="ftcli-bench-") as folder:
        yield Path(folder)


def cold_and_warm(recipe: str, repeats: int) -> dict[str, Any]:
    """Train `repeats` times with an empty cache, each followed by a full one; return the seconds."""
    cold, warm = [], []
    for _ in range(repeats):
        with fresh_cache() as cache:
            cold.append(train(recipe, cache))
            warm.append(train(recipe, cache))
    accuracies = {each.accuracy for each in (*cold, *warm)}
    return {
        "cold": [each.finished.seconds for each in cold],
        "warm": [each.finished.seconds for each in warm],
        "cold_cpu": [each.finished.cpu_seconds for each in cold],
        "warm_cpu": [each.finished.cpu_seconds for each in warm],
        "accuracies": sorted(accuracies),
    }
