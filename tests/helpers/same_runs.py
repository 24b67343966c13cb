"""What must be equal in two runs, however often one of them was interrupted."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

_CLOCKS = {
    "seconds": None,
    "images_per_second": None,
    "files": None,
    "sha256": None,
}  # hashes of files that contain times


def assert_same_runs(a: Path, b: Path) -> None:
    """Raise AssertionError for any difference, except times and the list of resumes."""
    one, other = _contents(a), _contents(b)
    for name, value in one.items():
        assert value == other[name], f"{name} of {a} and {b}: {value} and {other[name]}"
    for name in ("best", "last"):
        _assert_same_weights(*(load_file(run / f"checkpoints/{name}.safetensors") for run in (a, b)))


def _contents(run: Path) -> dict[str, Any]:
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "metrics.jsonl": [{**record, "seconds": None, "features_seconds": None} for record in metrics],
        "summary.json": {**json.loads((run / "summary.json").read_text()), **_CLOCKS},
        **{name: (run / name).read_bytes() for name in ("predictions/val.csv", "recipe.yaml", "plan.json")},
        "files": sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()),
    }


def _assert_same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name
