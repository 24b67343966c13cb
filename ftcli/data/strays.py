"""Owns what is said of files that no class holds: images in the wrong place or format, and anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ftcli.data.checks.findings import Case, Finding, counted
from ftcli.data.dataset import Dataset
from ftcli.data.decoding import CONVERT_HEIC
from ftcli.data.scanning import IMAGE_EXTENSIONS, is_image

_OTHER_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".tga", ".ico", ".psd", ".svg", ".dng", ".cr2", ".nef", ".arw"}
)
"""Extensions of images that do not count as such here."""


_HEIC = frozenset({".heic", ".heif"})


def stray_findings(dataset: Dataset) -> Iterator[Finding]:
    """Find files and folders below the dataset's root that hold no labelled image."""
    misplaced = [path for path in dataset.strays if is_image(path.name)]
    unread = [path for path in dataset.strays if path.suffix.lower() in _OTHER_IMAGES]
    others = [path for path in dataset.strays if path not in {*misplaced, *unread}]
    if misplaced:
        yield Finding(
            "warning",
            "no-label",
            f"{counted(len(misplaced), 'image lies', 'images lie')} beside the class folders, and so without a label.",
            "Move them into class folders.",
            _cases(dataset, misplaced),
        )
    if unread:
        heic = any(path.suffix.lower() in _HEIC for path in unread)
        yield Finding(
            "warning",
            "unread-format",
            f"{counted(len(unread), 'file', 'files')} of an extension that is not read may be images.",
            f"Convert what is wanted: images are {' '.join(sorted(IMAGE_EXTENSIONS))}."
            + (f" HEIC: {CONVERT_HEIC[0].lower()}{CONVERT_HEIC[1:]}" if heic else ""),
            _cases(dataset, unread),
        )
    if others:
        yield Finding(
            "info",
            "stray",
            f"{counted(len(others), 'file or folder is', 'files or folders are')} of no class, and left out.",
            "Nothing need be done.",
            _cases(dataset, others),
        )


def _cases(dataset: Dataset, paths: list[Path]) -> tuple[Case, ...]:
    return tuple(Case((path.relative_to(dataset.root).as_posix(),)) for path in paths)
