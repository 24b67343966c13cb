"""Owns the sentences on images that are scored although the network has met them before."""

from __future__ import annotations

from ftcli.evaluation.seen import Seen
from ftcli.report.wording import VAL_CHOSE_THE_EPOCH

_ALL = "these images"


def seen_notes(seen: Seen) -> tuple[str, ...]:
    """Return a sentence on the images that were trained on and one on those that chose the epoch, where there are."""
    notes = []
    if seen.trained_on:
        which = _which(seen.trained_on, seen.images)
        notes.append(f"The network was trained on {which}, which flatters it; a test split tells the truth.")
    if seen.chose_epoch:
        notes.append(VAL_CHOSE_THE_EPOCH.replace(_ALL, _which(seen.chose_epoch, seen.images)))
    return tuple(notes)


def _which(count: int, images: int) -> str:
    return _ALL if count == images else f"{count:,} of these {images:,} images"
