"""The parts `head`, `finetune` and `full`: whole trainings against the tutorials' loop."""

from __future__ import annotations

from typing import Any

from ftcli_runs import cold_and_warm, fresh_cache, phase_epochs, recipe_text, train
from loop_costs import Loop, measure
from settings import Settings

WARM_UP_EPOCHS = 1


def head(settings: Settings) -> list[dict[str, Any]]:
    """Time feature-extract: cold, warm, and the loop with BatchNorm in either mode."""
    rows = []
    for model in settings.models:
        loops = {mode: measure(Loop(model, "1", mode), settings) for mode in ("eval", "train")}
        for epochs in settings.epochs or (10, 30):
            recipe = recipe_text("head", model, epochs=epochs, root=settings.root)
            ours = cold_and_warm(recipe, settings.repeats or 3)
            rows.append({"model": model, "epochs": epochs, **ours, "loops": loops})
    return rows


def finetune(settings: Settings) -> list[dict[str, Any]]:
    """Time fine-tune with two groups and the head, and gradual up to the same two, for equal epochs."""
    rows = []
    epochs = (settings.epochs or (10,))[0]
    for model in settings.models:
        loops = [measure(Loop(model, str(groups)), settings) for groups in (1, 2, 3)]
        for strategy in ("finetune", "gradual"):
            lengths = phase_epochs(epochs) if strategy == "gradual" else (epochs,)
            used = loops if strategy == "gradual" else loops[-1:]
            recipe = recipe_text(strategy, model, epochs=epochs, root=settings.root)
            ours = cold_and_warm(recipe, settings.repeats or 1)
            stages = [{"epochs": length, "loop": loop} for length, loop in zip(lengths, used, strict=True)]
            rows.append({"model": model, "strategy": strategy, "epochs": epochs, **ours, "stages": stages})
    return rows


def full(settings: Settings) -> list[dict[str, Any]]:
    """Time epochs of fine-tuning everything, where nothing can be cached."""
    rows = []
    epochs = WARM_UP_EPOCHS + (settings.epochs or (3,))[0]
    for model in settings.models:
        recipe = recipe_text("full", model, epochs=epochs, root=settings.root)
        with fresh_cache() as cache:
            ours = train(recipe, cache)
        rows.append(
            {
                "model": model,
                "epoch_seconds": ours.epoch_seconds[WARM_UP_EPOCHS:],
                "warm_up_seconds": ours.epoch_seconds[0],
                "seconds": ours.finished.seconds,
                "cpu_seconds": ours.finished.cpu_seconds,
                "loop": measure(Loop(model, "all"), settings),
            }
        )
    return rows
