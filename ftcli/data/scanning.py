"""Owns the walk through folders: which entries count as images, what is hidden, and their order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ftcli.errors import DatasetError

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""Files count as images by these, in any case; they are decoded by content."""

_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})

_REPEATS_LIMIT = 10_000
"""Folders met again this often, behind links, are links that multiply: ten folders that hold links to each other are
ten million."""


@dataclass(frozen=True)
class Listing:
    """The visible entries of one folder, by name: its folders, images and stray files."""

    folders: tuple[str, ...]
    images: tuple[str, ...]
    strays: tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """All images and stray files below one folder, as posix paths relative to it, in byte-wise order."""

    images: tuple[str, ...]
    strays: tuple[str, ...]


def is_image(name: str) -> bool:
    """Return whether a file counts as an image, by its extension."""
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS  # noqa: PTH122 (60,000 Path objects are slow)


def is_folder(path: str | Path) -> bool:
    """Return whether there is a folder; not where one above it may not be entered, for which Path.is_dir raises."""
    return os.path.isdir(path)  # noqa: PTH112


def list_folder(folder: Path) -> Listing:
    """List one folder without its hidden entries; raise DatasetError where it cannot be read."""
    folders: list[str] = []
    images: list[str] = []
    strays: list[str] = []
    for entry in _visible_entries(os.fspath(folder)):
        if _is_folder(entry):
            folders.append(entry.name)
        else:
            (images if is_image(entry.name) else strays).append(entry.name)
    return Listing(bytewise(folders), bytewise(images), bytewise(strays))


def walk(folder: Path) -> Tree:
    """Find every image below a folder, at any depth; a link to a folder above it is not followed.

    Raises DatasetError for a folder that cannot be read, and for links that multiply.
    """
    images: list[str] = []
    strays: list[str] = []
    seen: set[tuple[int, int]] = set()
    repeats = 0
    waiting = [(os.fspath(folder), "", _identities_above(folder))]
    while waiting:
        path, prefix, above = waiting.pop()
        try:
            status = os.stat(path)  # noqa: PTH116 (see is_image)
        except OSError as error:
            raise unreadable(path, error) from error
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            continue
        repeats += identity in seen
        if repeats > _REPEATS_LIMIT:
            raise _multiplying(folder)
        seen.add(identity)
        for entry in _visible_entries(path):
            name = prefix + entry.name
            if _is_folder(entry):
                waiting.append((entry.path, name + "/", above | {identity}))
            else:
                (images if is_image(entry.name) else strays).append(name)
    return Tree(bytewise(images), bytewise(strays))


def unreadable(path: str, error: OSError) -> DatasetError:
    """Return the error for a folder that the system does not let us read."""
    return DatasetError(
        f"the folder cannot be read: {error.strerror}",
        where=path,
        hint="Check that it exists and its permissions.",
    )


def bytewise(names: list[str]) -> tuple[str, ...]:
    """Sort names by their bytes, so that the order is the same on every machine."""
    return tuple(sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape")))


def _visible_entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name.lower() not in _LITTER:
                    yield entry
    except OSError as error:
        raise unreadable(path, error) from error


def _identities_above(folder: Path) -> frozenset[tuple[int, int]]:
    """Return which folders hold this one, also behind links: what lies in them is not in it."""
    found = set()
    for parent in {*folder.absolute().parents, *folder.resolve().parents}:
        with suppress(OSError):
            status = parent.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder; a link to itself is none, and shows when it is read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _multiplying(folder: Path) -> DatasetError:
    return DatasetError(
        "links lead to the same folders again and again",
        where=os.fspath(folder),
        hint="Remove the links to folders that hold links to each other.",
    )
