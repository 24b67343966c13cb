"""The cost of the tutorials' loop, measured once per network, number of groups and BatchNorm mode.

Its cost per epoch is constant, so a few epochs give that of any number.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import Cost
from processes import run
from settings import Settings, machine, write_json

SCRIPT = Path(__file__).with_name("tutorial_loop.py")
KEPT = "loops.json"


@dataclass(frozen=True)
class Loop:
    """One form of the loop: `groups` to train, counted from the head, or `all`."""

    model: str
    groups: str
    batchnorm: str = "eval"


def command(loop: Loop, root: Path, *, epochs: int) -> list[str]:
    """Return the command line of the loop."""
    choice = ["--model", loop.model, "--groups", loop.groups, "--batchnorm", loop.batchnorm]
    return [sys.executable, str(SCRIPT), str(root), *choice, "--epochs", str(epochs)]


def measure(loop: Loop, settings: Settings) -> dict[str, Any]:
    """Return {"fixed_seconds", "epoch_seconds", "accuracy", ...} of a loop, without the warm-up epoch.

    What was measured before with the same code, images, machine and number of epochs is not measured again.
    """
    kept = settings.results / KEPT
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    key = f"{loop.model}, groups {loop.groups}, BatchNorm {loop.batchnorm}"
    circumstances = _circumstances(settings)
    if key in known and known[key]["circumstances"] == circumstances:
        return dict(known[key])
    finished = run(command(loop, settings.root, epochs=settings.loop_epochs + 1))
    said = json.loads(finished.out)
    first, *timed = said["epoch_seconds"]
    known[key] = {
        "fixed_seconds": finished.seconds - first - sum(timed),
        "epoch_seconds": timed,
        "warm_up_seconds": first,
        "cpu_seconds": finished.cpu_seconds,
        "accuracy": said["accuracy"],
        "accuracy_epochs": settings.loop_epochs + 1,
        "circumstances": circumstances,
    }
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(kept, known)
    return dict(known[key])


def cost(stages: Sequence[tuple[int, dict[str, Any]]]) -> Cost:
    """Return the computed cost of stages (epochs, measured loop): set-up once, and each epoch at its median.

    Low and high take the fastest and the slowest epoch for all.
    """
    fixed = statistics.median(loop["fixed_seconds"] for _, loop in stages)
    choices = (statistics.median, min, max)
    value, low, high = (fixed + sum(n * choose(loop["epoch_seconds"]) for n, loop in stages) for choose in choices)
    return Cost(value, low, high, min(len(loop["epoch_seconds"]) for _, loop in stages))


def _circumstances(settings: Settings) -> str:
    images = sorted(str(path.relative_to(settings.root)) for path in settings.root.rglob("*.*"))
    facts = [machine(), images, settings.loop_epochs, hashlib.sha256(SCRIPT.read_bytes()).hexdigest()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
