"""Paths that a user gives for prediction: files, folders, patterns and lists become images, each once, in order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftcli.data.class_folders import walk
from ftcli.errors import DatasetError


@dataclass(frozen=True)
class GivenImage:
    """A file to label: its path as it was given, and its name below the folder that was given."""

    path: str
    name: str


def find_images(given: Sequence[str], *, listed: Iterable[str] = ()) -> tuple[GivenImage, ...]:
    """Return the images that paths name, in order and without repeats.

    A folder stands for all images below it, in byte-wise order; a pattern such as `photos/*.jpg` for its matches. `-`
    stands for `listed`, paths one per line: those are not looked at, so that a file that is missing among thousands is
    reported when it is read. Raises DatasetError for a path that names nothing.
    """
    found: dict[str, GivenImage] = {}
    for path in given:
        for image in _listed(listed) if path == "-" else _named(path):
            found.setdefault(image.path, image)
    if not found:
        raise DatasetError("no image is named", where=", ".join(given), hint="Give files, folders, or `-` with a list.")
    return tuple(found.values())


def _listed(lines: Iterable[str]) -> list[GivenImage]:
    paths = [line.rstrip("\r\n") for line in lines]
    return [GivenImage(path, os.path.basename(path)) for path in paths if path]  # noqa: PTH119 (100,000 Path objects)


def _named(path: str) -> list[GivenImage]:
    if os.path.isdir(path):  # noqa: PTH112
        images = [GivenImage(os.path.join(path, name), name) for name in walk(Path(path)).images]  # noqa: PTH118
        if not images:
            raise DatasetError("no images below this folder", where=path, hint="Check the path.")
        return images
    if os.path.lexists(path):
        return [GivenImage(path, os.path.basename(path))]  # noqa: PTH119
    if not glob.has_magic(path):
        raise DatasetError("does not exist", where=path, hint="Check the path.")
    matches = sorted(glob.glob(path, recursive=True), key=os.fsencode)  # noqa: PTH207 (patterns may be absolute)
    if not matches:
        raise DatasetError("no file matches this pattern", where=path, hint="Check the pattern.")
    return [image for match in matches for image in _named(match)]
