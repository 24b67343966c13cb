"""One network taken through plan, train, resume and eval, in this process, on a few images of noise.

A network passes if it trains and `eval` reproduces the figures of its run, or if it is refused before anything is
written.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ftcli.commands.eval import Scoring, evaluate_checkpoint
from ftcli.commands.plan import plan
from ftcli.commands.resume import resume
from ftcli.commands.train import Target, train
from ftcli.errors import FtcliError, InterruptedRunError
from ftcli.interrupt import Deadline
from ftcli.model.network import Network, default_spec, outline_network
from ftcli.records import EpochRecord

CLASSES = ("ants", "bees")
SIZES = (64, 96, 128, 224)
"""Image sizes to try, in pixels, before the network's own."""

STRATEGIES = {"head": "{kind: feature-extract}", "last group": "{kind: fine-tune, unfreeze: 1}"}

CACHED, UNCACHED, REFUSED, CRASHED, WRONG, SLOW = "cached", "not cached", "refused", "crashed", "wrong", "too slow"
PASSED = (CACHED, UNCACHED, REFUSED)

_LARGEST_DIFFERENCE = 1e-5
_COMPUTED_AGAIN = "computes the frozen part in every epoch: "


def write_noise(root: Path, *, images: int = 8, side: int = 72) -> None:
    """Write train/ and val/ of two classes that differ in colour, with so many noisy images in each folder."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, colour in zip(CLASSES, ((70, 90, 180), (180, 90, 70)), strict=True):
            folder = root / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(images):
                pixels = generator.normal(0, 40, (side, side, 3)) + np.array(colour)
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")


def smallest_size(name: str) -> int:
    """Return the smallest of SIZES that a network takes; its own where none of them passes. Raises FtcliError."""
    usual = default_spec(name).image_size
    for size in (size for size in SIZES if size < usual):
        try:
            outline = outline_network(name, classes=CLASSES, image_size=size)
            with torch.no_grad():
                outline.module.eval()(torch.empty(2, 3, size, size, device="meta"))
        except Exception:  # noqa: BLE001, S112 - a size that does not fit may raise anything in a model's code
            continue
        return size
    return usual


def try_network(name: str, *, images: Path, folder: Path, strategies: Mapping[str, str] = STRATEGIES) -> dict[str, Any]:
    """Return the network's row: size, parameters, groups, and how it did with each strategy, with the reason."""
    started = time.perf_counter()
    row: dict[str, Any] = {"network": name, "image_size": None, "parameters": None, "groups": [], "outcomes": {}}
    try:
        row["image_size"] = smallest_size(name)
        outline: Network | None = outline_network(name, classes=CLASSES, image_size=row["image_size"])
    except FtcliError:
        outline = None  # `train` says why
    if outline is not None:
        row["groups"] = [group.name for group in outline.groups]
        row["parameters"] = sum(outline.parameter_counts.values())
    for title, strategy in strategies.items():
        recipe = folder / f"{title.replace(' ', '-')}.yaml"
        recipe.write_text(
            f"data: {{root: {json.dumps(str(images))}, image_size: {row['image_size'] or 'null'}, batch_size: 8, "
            "augment: none, workers: 0}\n"
            f"model: {{name: {name}, weights: none}}\nstrategy: {strategy}\nepochs: 1\nreport: false\n"
        )
        outcome, reason = _outcome(recipe, folder / "runs")
        row["outcomes"][title] = {"outcome": outcome, "reason": reason}
        if outcome not in {CACHED, UNCACHED}:
            break
    row["seconds"] = round(time.perf_counter() - started, 1)
    return row


def _outcome(recipe: Path, runs: Path) -> tuple[str, str | None]:
    try:
        return _train_and_score(recipe, runs)
    except InterruptedRunError:
        raise
    except Exception as error:  # noqa: BLE001 - any failure is a finding, and the next network follows
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if isinstance(error, FtcliError) else f" ({Path(last.filename).name}:{last.lineno})"
        return CRASHED, f"{type(error).__name__}: {error}{place}"


def _train_and_score(recipe: Path, runs: Path) -> tuple[str, str | None]:
    run, log, deadline = runs / recipe.stem, _Log(), Deadline(time.monotonic(), None)
    try:
        forecast = plan(recipe).forecasts[0]
    except FtcliError as refusal:
        return _refused(recipe, runs, refusal)
    train(recipe, [], target=Target(recipe.stem, runs), progress=log, deadline=deadline)
    result = resume(run, ["epochs=2"], progress=log, deadline=deadline)
    recorded, scored = result.summary.metrics, evaluate_checkpoint(run, Scoring()).evaluation.metrics
    off = max(abs(metric.value - scored[key].value) for key, metric in recorded.items())
    if not off <= _LARGEST_DIFFERENCE:
        return WRONG, f"eval differs from the run by {off:.1e}"
    again = [text.partition(_COMPUTED_AGAIN)[2] for text in log.notices if _COMPUTED_AGAIN in text]
    if forecast.cached == bool(again):
        return WRONG, f"plan says cached: {forecast.cached}; train says: {again or 'cached'}"
    return (CACHED, None) if forecast.cached else (UNCACHED, again[0])


def _refused(recipe: Path, runs: Path, refusal: FtcliError) -> tuple[str, str]:
    """Return the refusal by `plan` if `train` refuses, too, and writes nothing."""
    try:
        train(recipe, [], target=Target(recipe.stem, runs), progress=_Log(), deadline=Deadline(time.monotonic(), None))
    except FtcliError as error:
        if not (runs / recipe.stem).exists():
            return REFUSED, error.message
        return WRONG, f"refused after the run directory was made: {error.message}"
    return WRONG, f"plan refuses and train does not: {refusal.message}"


class _Log:
    """A Progress that keeps the notices."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def stage(self, text: str) -> None:
        pass

    def step(self, what: str, done: int, total: int | None) -> None:
        pass

    def epoch(self, record: EpochRecord, *, epochs: int, best: bool) -> None:
        pass
