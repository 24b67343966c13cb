"""The part `accuracy`: the accuracy of 8 cached views against a fresh view in every epoch."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ftcli_runs import fresh_cache, recipe_text
from settings import Settings
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

MODEL = "efficientnet_lite0"
DEFAULT_EPOCHS, DEFAULT_SEEDS = (10, 30), (20, 20)
LR, BATCH = 1e-2, 32

_BICUBIC = transforms.InterpolationMode.BICUBIC
_END = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
_STEPS = {
    "train": [transforms.RandomResizedCrop(224, scale=(0.35, 1.0), interpolation=_BICUBIC)],
    "val": [transforms.Resize(256, interpolation=_BICUBIC), transforms.CenterCrop(224)],
}
_MIRROR = {"train": [transforms.RandomHorizontalFlip()], "val": []}


@dataclass(frozen=True, eq=False)
class Features:
    """The frozen network's features: fresh train views (E, N, C), one per epoch, and val (M, C)."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor


def accuracy(settings: Settings) -> list[dict[str, Any]]:
    """Train both ways with the same seeds; return the best val accuracy of each run."""
    plans = list(zip(settings.epochs or DEFAULT_EPOCHS, settings.seeds or DEFAULT_SEEDS, strict=False))
    features = extract(settings.root, epochs=max(epochs for epochs, _ in plans))
    rows = []
    with fresh_cache() as cache:
        os.environ["FTCLI_CACHE"] = str(cache)
        for epochs, seeds in plans:
            recipe = recipe_text("head", MODEL, epochs=epochs, root=settings.root)
            cached = [train_with_ftcli(recipe, seed) for seed in range(seeds)]
            fresh = [train_plainly(features, epochs=epochs, seed=seed) for seed in range(seeds)]
            rows.append({"epochs": epochs, "seeds": seeds, "cached": cached, "fresh": fresh})
    return rows


def extract(root: Path, *, epochs: int) -> Features:
    """Compute the frozen network's features of a fresh view for each epoch, in plain torch, BatchNorm in eval mode."""
    from ftcli.engine.device import tune_allocator
    from ftcli.model.libraries import efficientnet_lite0

    tune_allocator()  # changes only the time
    network = efficientnet_lite0.pretrained(MODEL, image_size=224)
    network.classifier = nn.Identity()
    network.eval()
    folders = {
        split: ImageFolder(str(root / split), transforms.Compose([*_STEPS[split], *_MIRROR[split], *_END]))
        for split in _STEPS
    }
    passes = []
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        passes.append(_features(network, folders["train"]))
    labels = {split: torch.tensor(folder.targets) for split, folder in folders.items()}
    return Features(torch.stack(passes), labels["train"], _features(network, folders["val"]), labels["val"])


def _features(network: nn.Module, folder: ImageFolder) -> Tensor:
    with torch.no_grad():
        loader = DataLoader(folder, batch_size=BATCH, num_workers=2)
        return torch.cat([network(images) for images, _ in loader])


def train_plainly(features: Features, *, epochs: int, seed: int) -> float:
    """Train a head in a plain loop, epoch e on fresh view e; return the best val accuracy."""
    torch.manual_seed(seed)
    head = nn.Linear(features.train.shape[2], 2)
    optimizer = torch.optim.SGD(head.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    images = features.train.shape[1]
    steps = -(-images // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    best = 0.0
    for epoch in range(epochs):
        for chosen in torch.randperm(images).split(BATCH):
            optimizer.zero_grad()
            logits = head(features.train[epoch, chosen])
            nn.functional.cross_entropy(logits, features.train_labels[chosen]).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            correct = head(features.val).argmax(1) == features.val_labels
        best = max(best, correct.float().mean().item())
    return best


def train_with_ftcli(recipe: str, seed: int) -> float:
    """Call the command line in this process, to save imports; return the best val accuracy."""
    from ftcli.cli import main

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "recipe.yaml")
        config.write_text(recipe, encoding="utf-8")
        sys.argv = ["ftcli", "train", str(config), f"seed={seed}", "--runs", folder, "--name", "run", "--quiet"]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                main()
        except SystemExit as left:
            if left.code:
                raise RuntimeError(f"ftcli train left with exit code {left.code}") from left
        lines = Path(folder, "run", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return max(float(json.loads(line)["val"]["accuracy"]) for line in lines)
