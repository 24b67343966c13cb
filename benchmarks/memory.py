"""The part `memory`: peak memory of training, with all workers."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from ftcli_runs import fresh_cache, recipe_text, train
from loop_costs import Loop, command
from processes import Finished, run_watched
from settings import Settings

HEAD_EPOCHS = 2
"""More epochs add views, which use the same buffers."""


def memory(settings: Settings) -> list[dict[str, Any]]:
    """Measure, with the first of the models, trainings of ftcli and of the loop, each once."""
    rows, model = list[dict[str, Any]](), settings.models[0]
    epochs = (settings.epochs or (HEAD_EPOCHS,))[0]
    text = partial(recipe_text, model=model, root=settings.root)
    with fresh_cache() as cache:
        rows.append(_ours(model, "ftcli, head, cold", text("head", epochs=epochs), cache))
        rows.append(_ours(model, "ftcli, head, warm", text("head", epochs=epochs), cache))
        rows.append(_ours(model, "ftcli, two groups and head, cold", text("finetune", epochs=epochs), cache))
        rows.append(_ours(model, "ftcli, everything", text("full", epochs=1), cache))
    for groups, name in (("1", "head"), ("3", "two groups and head"), ("all", "everything")):
        finished, peak = run_watched(command(Loop(model, groups), settings.root, epochs=1))
        rows.append(_row(model, f"loop, {name}", finished, peak))
    finished, peak = run_watched([sys.executable, "-c", "import torch, torchvision, timm"])
    rows.append(_row("none", "importing torch, torchvision and timm", finished, peak))
    return rows


def _ours(model: str, what: str, recipe: str, cache: Path) -> dict[str, Any]:
    peaks: list[float] = []

    def execute(*arguments: Any, **options: Any) -> Finished:
        finished, peak = run_watched(*arguments, **options)
        peaks.append(peak)
        return finished

    return _row(model, what, train(recipe, cache, execute=execute).finished, peaks[0])


def _row(model: str, what: str, finished: Finished, peak: float) -> dict[str, Any]:
    return {"model": model, "what": what, "tree_pss_mib": peak, "largest_rss_mib": finished.peak_rss_mib}
