"""Owns the head: finding a network's last layer and putting a new, randomly initialised one in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ftcli.errors import ModelError

_HEAD_STREAM = 1 << 32
"""Keeps the head's random numbers apart from those of the body with the same seed."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a generator that starts at `seed`, and leave the global one as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also reseed every accelerator.
        torch.default_generator.manual_seed(seed)
        yield


def replace_head(network: nn.Module, head: str, *, classes: int, seed: int) -> None:
    """Put a fresh layer of `classes` outputs at the path `head`, with torch's default initialisation.

    The layer depends on the seed alone, so that runs from different weights start from the same head.
    """
    with seeded(seed + _HEAD_STREAM):
        layer = _fresh(network.get_submodule(head), head, classes=classes)
    parent, _, name = head.rpartition(".")
    # Not setattr: Sequential keeps its children under numbers.
    network.get_submodule(parent).register_module(name, layer)
    if isinstance(getattr(network, "num_classes", None), int):
        network.num_classes = classes  # type: ignore[assignment]


def _fresh(old: nn.Module, head: str, *, classes: int) -> nn.Linear | nn.Conv2d:
    device = next(old.parameters(), torch.empty(0)).device
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, classes, bias=old.bias is not None, device=device)
    if isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1) and old.groups == 1:
        return nn.Conv2d(old.in_channels, classes, kernel_size=1, bias=old.bias is not None, device=device)
    message = f"its last layer {head!r} is a {type(old).__name__}, not a linear layer or a 1x1 convolution"
    raise ModelError(message, hint="Choose another model, such as resnet18.")
