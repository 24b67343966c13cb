"""Run directories like those of `ftcli train`, written without training."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ftcli.evaluation.evaluate import evaluate
from ftcli.evaluation.predictions import Predictions
from ftcli.plan import Phase, Plan
from ftcli.records import EpochRecord, Gate, ProbeRecord, RunSummary, StrengthTrial
from ftcli.runs.create import create
from ftcli.runs.directory import FORMAT_VERSION, RunDirectory
from ftcli.runs.predictions_file import write_predictions

PROBE = ProbeRecord(
    strength=0.1,
    folds=5,
    trials=tuple(StrengthTrial(10.0**power, 0.3 + 0.05 * abs(power + 1)) for power in range(-3, 2)),
    iterations=40,
    slope=1e-8,
)


def plan_of(phases: int, epochs: int, *, groups: Sequence[str], solver: str) -> Plan:
    """Return a gradual plan: one more group in each phase, from the head down."""
    trained = [
        {
            group: 0.01 * 0.3 ** (len(groups) - 1 - i) if i >= len(groups) - phase else None
            for i, group in enumerate(groups)
        }
        for phase in range(1, phases + 1)
    ]
    each = epochs // phases
    last = epochs - each * (phases - 1)
    names = [f"to {groups[-phase]}" for phase in range(1, phases + 1)]
    return Plan(
        "gradual",
        tuple(groups),
        tuple(
            Phase(name, each if i < phases - 1 else last, lr, None, solver)  # type: ignore[arg-type]
            for i, (name, lr) in enumerate(zip(names, trained, strict=True))
        ),
    )


def records_of(plan: Plan, *, probe: ProbeRecord | None) -> list[EpochRecord]:
    records: list[EpochRecord] = []
    for index, phase in enumerate(plan.phases):
        for step in range(phase.epochs):
            number = len(records) + 1
            fall = 0.5 + 0.5 * np.cos(np.pi * step / phase.epochs)
            records.append(
                EpochRecord(
                    phase=phase.name,
                    phase_index=index,
                    epoch=number,
                    lr={group: None if rate is None else rate * float(fall) for group, rate in phase.lr.items()},
                    train_loss=1.5 / number**0.7,
                    train_accuracy=1 - 0.5 / number**0.7,
                    val={"loss": 0.3 + 1 / number, "accuracy": 0.93 - 0.4 / number, "macro_f1": 0.9 - 0.4 / number},
                    seconds=1.5,
                    cached=True,
                    probe=probe,
                )
            )
    return records


def predictions_of(root: Path, classes: Sequence[str], *, images: int, wrong: int) -> Predictions:
    """Write images to `root` and return their predictions, the first `wrong` of them wrong."""
    labels = np.arange(images, dtype=np.int64) % len(classes)
    predicted = np.where(np.arange(images) < wrong, (labels + 1) % len(classes), labels)
    probabilities = np.full((images, len(classes)), 0.2 / (len(classes) - 1))
    probabilities[np.arange(images), predicted] = 0.8
    paths, hashes = [], []
    for number in range(images):
        path = root / "val" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 60), (number % 256, 90, 160)).save(path)
        paths.append(path.relative_to(root).as_posix())
        hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return Predictions(tuple(classes), tuple(paths), tuple(hashes), labels, probabilities)


def files_of(predictions: Predictions, plan: Plan, root: Path, recipe: Mapping[str, Any]) -> dict[str, Any]:
    counts = dict.fromkeys(predictions.classes, 10)
    split = {"images": len(predictions), "per_class": counts, "sha256": "0" * 64}
    return {
        "recipe.yaml": json.dumps(recipe, ensure_ascii=False),
        "plan.json": plan.to_json(dict.fromkeys(plan.groups, 1000)),
        "dataset.json": {
            "schema": 1,
            "root": str(root),
            "classes": list(predictions.classes),
            "splits": {"train": split},
        },
        "train.sha256": f"{'0' * 64}  train/0.png\n",
        "environment.json": {
            "format": FORMAT_VERSION,
            "schema": 1,
            "versions": {"torch": "2.15.0"},
            "device": "cpu",
            "precision": "fp32",
            "platform": "Linux",
            "python": "3.11.7",
            "argv": ["ftcli", "train", "<b>recipe</b>.yaml"],
        },
    }


def write_run(
    path: Path,
    *,
    classes: Sequence[str] = ("ants", "bees"),
    groups: Sequence[str] = ("stem", "layer3", "layer4", "head"),
    phases: int = 2,
    epochs: int = 6,
    images: int = 40,
    wrong: int = 7,
    solver: str = "sgd",
    recipe: Mapping[str, Any] | None = None,
    finished: bool = True,
    dataset: Mapping[str, Any] | None = None,
    gates: Sequence[Gate] = (),
    unchecked: Sequence[str] = (),
) -> Path:
    """Write a run with images next to it, the first `wrong` of them misclassified."""
    root = path.parent / "images"
    predictions = predictions_of(root, classes, images=images, wrong=wrong)
    plan = plan_of(phases, epochs, groups=groups, solver=solver)
    run = RunDirectory(path)
    settings = {"model": {"name": "resnet18"}, "monitor": "val_accuracy", **(recipe or {})}
    files = files_of(predictions, plan, root, settings)
    files["dataset.json"] |= dataset or {}
    create(run, files, overwrite=False)
    for record in records_of(plan, probe=PROBE if solver == "lbfgs" else None):
        run.append(record)
    write_predictions(run.predictions("val"), predictions)
    if finished:
        metrics = evaluate(predictions, resamples=20).metrics
        notes = {"notices": ("left out: <i>x</i>.gif",), "gates": tuple(gates), "unchecked": tuple(unchecked)}
        run.finish(RunSummary(epochs, epochs, "val_accuracy", metrics, images, 12.5, 99.0, **notes))
    return path
