"""Options of the benchmarks, their raw figures, and the machine."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

MODELS = ("efficientnet_lite0", "resnet18")
WEIGHTS = {"efficientnet_lite0": "default", "resnet18": "none"}
"""Resnet18 has random weights: no network connection is needed, and the arithmetic is the same."""

_PACKAGES = ("ftcli", "torch", "torchvision", "timm", "pillow", "numpy")


@dataclass(frozen=True)
class Settings:
    """The options of one call of run.py; None leaves the choice to each part."""

    root: Path
    results: Path
    models: tuple[str, ...] = MODELS
    epochs: tuple[int, ...] | None = None
    repeats: int | None = None
    seeds: tuple[int, ...] | None = None
    loop_epochs: int = 3
    grid: bool = False


def write_result(part: str, rows: list[dict[str, Any]], settings: Settings, *, started: float, load: float) -> Path:
    """Write one part's raw figures and the machine; `load` was measured before the part."""
    settings.results.mkdir(parents=True, exist_ok=True)
    result = {
        "part": part,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 1),
        "load_before": load,
        "machine": machine(),
        "rows": rows,
    }
    path = settings.results / f"{part}.json"
    write_json(path, result)
    return path


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON so that a crash leaves the previous file whole."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the available results by part."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return {result["part"]: result for result in found if "part" in result}


def machine() -> dict[str, Any]:
    """Describe the machine and the versions, without slow imports."""
    return {
        "cpu": _from_proc("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def _from_proc(path: str, key: str) -> str | None:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None
