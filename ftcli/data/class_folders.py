"""Owns how one folder of class folders is read: the images of each class, and what is wrong with them.

Owns the walk through folders: which entries count as images, what is hidden, and their order.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ftcli.errors import DatasetError


@dataclass(frozen=True)
class Sample:
    """One labelled image; `name` is its posix path relative to the dataset's root.

    Images of one `group` show the same thing and belong in one split; None where nothing says so.
    """

    path: Path
    name: str
    label: int
    group: str | None = None


@dataclass(frozen=True)
class Reading:
    """How folders are read: without the images `left_out`, and with the groups that `group_by` finds.

    Names in `left_out` are relative to the dataset's root.
    """

    group_by: re.Pattern[str] | None = None
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClassFolders:
    """The class folders of one folder; in the dataset, names start with `prefix` ("train/", or "")."""

    folder: Path
    prefix: str
    trees: Mapping[str, Tree]
    strays: tuple[Path, ...]
    group_by: re.Pattern[str] | None = None


def read_class_folders(folder: Path, *, prefix: str, reading: Reading = Reading()) -> ClassFolders:
    """Find the images of every class folder; images beside the class folders are stray."""
    listing = list_folder(folder)
    trees = {name: _without(walk(folder / name), reading.left_out, f"{prefix}{name}/") for name in listing.folders}
    strays = [folder / name for name in (*listing.images, *listing.strays)]
    strays += [folder / name / stray for name, tree in trees.items() for stray in tree.strays]
    return ClassFolders(folder, prefix, trees, tuple(strays), reading.group_by)


def training_classes(train: ClassFolders) -> tuple[str, ...]:
    """Return the classes by name; raise DatasetError for an empty class folder or fewer than two classes."""
    classes = bytewise(list(train.trees))
    where = str(train.folder)
    empty = [name for name in classes if not train.trees[name].images]
    if classes and len(empty) < len(classes) and empty:
        raise DatasetError(
            f"no images in class {'folder' if len(empty) == 1 else 'folders'} {_listed(empty)}",
            where=where,
            hint="Add images, or remove the folder so that it is not a class.",
        )
    if not classes or empty:
        raise DatasetError(
            "no images in class folders were found",
            where=where,
            hint="Expected one folder per class with images in it, as in train/ants/1.jpg, train/bees/2.jpg.",
        )
    if len(classes) == 1:
        raise DatasetError(
            f"only one class, {classes[0]!r}; a classifier needs two or more",
            where=where,
            hint=_deeper_root(train.folder, classes[0]) or "Add a folder with the images of another class.",
        )
    return classes


def label_samples(folders: ClassFolders, classes: Sequence[str]) -> tuple[Sample, ...]:
    """Return the images, labelled by the names of their folders; raise DatasetError for an unknown class."""
    refuse_unknown_classes(folders, classes)
    return tuple(
        sample
        for label, name in enumerate(classes)
        if name in folders.trees
        for sample in samples_of(folders, name, label=label)
    )


def samples_of(folders: ClassFolders, class_name: str, *, label: int) -> list[Sample]:
    """Return the samples of one class, in byte-wise order of their names."""
    start = f"{folders.prefix}{class_name}/"
    folder = folders.folder / class_name
    return [
        Sample(folder / image, start + image, label, _group_of(image, folders.group_by))
        for image in folders.trees[class_name].images
    ]


def refuse_unknown_classes(folders: ClassFolders, classes: Sequence[str]) -> None:
    """Raise DatasetError where a folder that holds images is not one of the classes."""
    unknown = [name for name, tree in folders.trees.items() if tree.images and name not in classes]
    if unknown:
        plural = "class" if len(unknown) == 1 else "classes"
        raise DatasetError(
            f"unknown {plural} {_listed(_with_near_match(name, classes) for name in unknown)}",
            where=str(folders.folder),
            hint=f"The classes are {_listed(classes)}. Rename or remove the folder.",
        )


def _without(tree: Tree, left_out: frozenset[str], start: str) -> Tree:
    if not left_out:
        return tree
    return replace(tree, images=tuple(image for image in tree.images if start + image not in left_out))


def _group_of(image: str, group_by: re.Pattern[str] | None) -> str | None:
    """Return the text that names an image's group: that of `(?P<group>...)`, or else of the first parentheses."""
    found = group_by.search(image) if group_by is not None else None
    if found is None or group_by is None:
        return None
    return found["group" if "group" in group_by.groupindex else 1] or None


def _with_near_match(name: str, classes: Sequence[str]) -> str:
    same = next((known for known in classes if _composed(known) == _composed(name)), None)
    if same is not None:
        return f"{name} ({name!a}, where train has {same!a}: the same letters, encoded in another way)"
    by_folded = {known.casefold(): known for known in classes}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f"{name} (did you mean {by_folded[near[0]]!r}?)" if near else name


def _composed(name: str) -> str:
    """Return a name in the one form that all ways of encoding its letters share."""
    return unicodedata.normalize("NFC", name)


def _listed(names: Iterable[str], *, most: int = 10) -> str:
    """Join names for a sentence, the first ones only."""
    every = list(names)
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def _deeper_root(folder: Path, only: str) -> str | None:
    """Suggest the one folder inside, when that is where the splits or the classes are."""
    deeper = list_folder(folder / only).folders
    return (
        f"Did you mean {folder / only}? It holds {_listed(deeper)}." if len(deeper) > 1 or "train" in deeper else None
    )


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
