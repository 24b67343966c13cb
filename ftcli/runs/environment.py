"""environment.json: versions, device, git commit and command line of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ftcli.records import SCHEMA
from ftcli.runs.directory import RunDirectory
from ftcli.runs.files import damaged, read_json

_PACKAGES = ("ftcli", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "safetensors")


def environment(device: str, precision: str, *, arithmetic: int, threads: int) -> dict[str, Any]:
    """Describe the machine that trains, the arithmetic of this version's training and the number of torch's threads."""
    return {
        "schema": SCHEMA,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "device": device,
        "precision": precision,
        "arithmetic": arithmetic,
        "cpus": os.cpu_count(),
        "threads": threads,
        "argv": sys.argv,
        "directory": str(Path.cwd()),
        "git_commit": _git_commit(),
    }


def read_environment(run: RunDirectory) -> dict[str, Any]:
    """Read environment.json. Raises RunDirectoryError if it does not describe a machine."""
    value = read_json(run.environment)
    if not isinstance(value.get("versions"), dict) or not {"device", "precision"} <= set(value):
        raise damaged(run.environment, "does not describe the machine")
    return value


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the git commit of the working directory, marked if it is dirty; None without git."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - constant
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
