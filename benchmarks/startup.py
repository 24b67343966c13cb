"""The part `startup`: the time of short commands and imports."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from ftcli_runs import FTCLI, recipe_text
from processes import run
from settings import Settings


def startup(settings: Settings) -> list[dict[str, Any]]:
    """Time `--help`, a wrong recipe, `plan`, and imports, each after one unmeasured run."""
    with tempfile.TemporaryDirectory() as folder:
        good, bad = Path(folder, "recipe.yaml"), Path(folder, "wrong.yaml")
        good.write_text(recipe_text("head", settings.models[0], epochs=3, root=settings.root), encoding="utf-8")
        bad.write_text(good.read_text(encoding="utf-8").replace("epochs", "epoch"), encoding="utf-8")
        commands: dict[str, tuple[list[str], int]] = {
            "ftcli --help": ([FTCLI, "--help"], 0),
            "ftcli train on a recipe with a misspelt key": ([FTCLI, "train", str(bad)], 2),
            f"ftcli plan, {settings.models[0]}": ([FTCLI, "plan", str(good)], 0),
            "python, nothing": ([sys.executable, "-c", "pass"], 0),
            "python, import ftcli.cli": ([sys.executable, "-c", "import ftcli.cli"], 0),
            "python, import torch": ([sys.executable, "-c", "import torch"], 0),
            "python, import torch and torchvision": ([sys.executable, "-c", "import torch, torchvision"], 0),
            "python, import torch, torchvision and timm": (
                [sys.executable, "-c", "import torch, torchvision, timm"],
                0,
            ),
        }
        rows = []
        for name, (command, code) in commands.items():
            run(command, code=code)
            seconds = [run(command, code=code).seconds for _ in range(settings.repeats or 3)]
            rows.append({"what": name, "seconds": seconds})
    return rows
