"""How many processes read images, from the cores that this process may use; a file of its own to need no torch."""

from __future__ import annotations

import os

MOST_WORKERS = 16
"""More workers than this rarely help: the disk or the network is slower."""

FEW_IMAGES = 64
"""Below this, starting workers takes longer than reading the images."""


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(images: int) -> int:
    """Return how many workers should read this many images; 0 means that the main process does."""
    cores = available_cores()
    return 0 if images < FEW_IMAGES or cores == 1 else min(cores, MOST_WORKERS)
