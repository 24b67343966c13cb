"""The model card of an export: what the model is, what it was measured on, and what its user has to add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ftcli.model.formats import FORMATS
from ftcli.phrases import count, listed
from ftcli.records import Interval
from ftcli.report.format import figure, interval_text, metric_name
from ftcli.report.markdown import escaped

_NOT_STATED = "Not stated. Fill this in before you share the model."


_USE = """    pip install numpy pillow {runtime}
    python classify.py IMAGE...

Without an image, classify.py checks the model on the golden images that came with it."""


def model_card(model: Mapping[str, Any]) -> str:
    """Return README.md with front matter that model hubs read (model-index); every number is from the run."""
    metrics = {name: Interval(**value) for name, value in (model["metrics"] or {}).items()}
    front = yaml.safe_dump(_front_matter(model, metrics), sort_keys=False, allow_unicode=True)
    sections = {
        "Model details": _details(model),
        "How to use": _USE.format(runtime=FORMATS[model["format"]].runtime),
        "Evaluation": _evaluation(model, metrics),
        "Training data": _NOT_STATED,
        "Intended use and limitations": _NOT_STATED,
    }
    title = f"# {escaped(model['model'])}: {escaped(listed(model['classes'], most=10))}"
    body = [f"## {heading}\n\n{text}" for heading, text in sections.items()]
    return "\n\n".join([f"---\n{front}---", title, *body]) + "\n"


def _details(model: Mapping[str, Any]) -> str:
    spec = model["preprocessing"]
    side = spec["image_size"]
    if model["input"] == "uint8":
        takes = f"RGB pixels (N, {side}, {side}, 3) of type uint8, and normalises them itself"
    else:
        takes = (
            f"float32 images (N, 3, {side}, {side}), normalised with mean {spec['mean']} and deviation {spec['std']}"
        )
    cropped = (
        "squashed" if spec["squash"] else f"to {spec['resize_size']} on the shorter side, then cropped at the centre"
    )
    what = (
        f"An image classifier for {count(len(model['classes']), 'class', 'classes')}, trained with ftcli "
        f"{model['versions']['ftcli']}, epoch {model['epoch']}. "
        f"SHA-256 of the checkpoint: `{model['checkpoint_sha256']}`."
    )
    file = (
        f"`{model['file']}` takes `images`: {takes}. Batches may have any size. It gives `probabilities` and `logits` "
        "(N, classes), in the order of `classes` in export.json."
    )
    images = (
        f"Images are turned upright by EXIF, put on white where they are transparent, and resized {cropped}, to "
        f"{side} x {side} pixels ({spec['interpolation']}, antialiased)."
    )
    return f"{what}\n\n{file}\n\n{images}"


def _evaluation(model: Mapping[str, Any], metrics: Mapping[str, Interval]) -> str:
    proof = model["verification"]
    rows = [
        f"| {metric_name(name)} | {figure(name, each.value)} | {interval_text(name, each)} |"
        for name, each in metrics.items()
    ]
    table = "\n".join(["| metric | val | 95 % interval |", "|---|---|---|", *rows])
    return (
        f"{table if rows else 'Not measured.'}\n\nThe file was run with {proof['runtime']} on "
        f"{escaped(proof['source'])}: all {count(proof['images'], 'label')} are those of the checkpoint, and no "
        f"probability differs by more than {proof['largest_difference']:.1g}."
    )


def _front_matter(model: Mapping[str, Any], metrics: Mapping[str, Interval]) -> dict[str, Any]:
    measured = [{"type": name, "value": round(each.value, 6)} for name, each in metrics.items()]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "imagefolder", "name": "val of the training data"},
        "metrics": measured,
    }
    return {
        "library_name": model["format"],
        "tags": ["image-classification", "ftcli"],
        "pipeline_tag": "image-classification",
        "model-index": [{"name": model["model"], "results": [result] if measured else []}],
    }
