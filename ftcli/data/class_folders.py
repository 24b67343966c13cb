"""Class folders: the images of each class below one folder, and the files that no class holds.

The walk decides which entries count as images, which are hidden, and their order. No image is opened.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ftcli.errors import DatasetError
from ftcli.phrases import listed

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""Files with these extensions, in any case, count as images; they are decoded by content."""

_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})

_CLASSES_SHOWN = 10

REPEATS_LIMIT = 10_000
"""A folder may be reached this often through links. Ten folders that link to each other give ten million paths."""


@dataclass(frozen=True)
class Sample:
    """One labelled image; `name` is its posix path relative to the dataset's root.

    Images of one `cluster` show the same thing and belong in one split; None without data.group_by.
    """

    path: Path
    name: str
    label: int
    cluster: str | None = None


@dataclass(frozen=True)
class Reading:
    """How folders are read: without the images `left_out`, and with the clusters that `group_by` finds.

    Names in `left_out` are relative to the dataset's root.
    """

    group_by: re.Pattern[str] | None = None
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClassFolders:
    """The class folders of one folder; in the dataset, names start with `prefix` ("train/", or "").

    `unlabelled` are the files outside class folders, and the files inside that are not images.
    """

    folder: Path
    prefix: str
    trees: Mapping[str, Tree]
    unlabelled: tuple[Path, ...]
    group_by: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Listing:
    """The visible entries of one folder, by name: folders, images and other files."""

    folders: tuple[str, ...]
    images: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """All images and other files below one folder, as posix paths relative to it, in byte-wise order."""

    images: tuple[str, ...]
    others: tuple[str, ...]


def read_class_folders(folder: Path, *, prefix: str, reading: Reading = Reading()) -> ClassFolders:
    """Find the images of every class folder; images next to the class folders have no label."""
    listing = list_folder(folder)
    trees = {name: walk(folder / name) for name in listing.folders}
    if reading.left_out:
        for name, tree in trees.items():
            kept = tuple(image for image in tree.images if f"{prefix}{name}/{image}" not in reading.left_out)
            trees[name] = replace(tree, images=kept)
    unlabelled = [folder / name for name in (*listing.images, *listing.others)]
    unlabelled += [folder / name / other for name, tree in trees.items() for other in tree.others]
    return ClassFolders(folder, prefix, trees, tuple(unlabelled), reading.group_by)


def training_classes(train: ClassFolders) -> tuple[str, ...]:
    """Return the classes by name; raise DatasetError for an empty class folder or fewer than two classes."""
    classes = bytewise(list(train.trees))
    where = str(train.folder)
    empty = [name for name in classes if not train.trees[name].images]
    if len(empty) == len(classes):
        hint = "Expected one folder per class with images in it, as in train/ants/1.jpg, train/bees/2.jpg."
        raise DatasetError("no images in class folders were found", where=where, hint=hint)
    if empty:
        folders = "folder" if len(empty) == 1 else "folders"
        message = f"no images in class {folders} {listed(empty, most=_CLASSES_SHOWN)}"
        raise DatasetError(message, where=where, hint="Add images, or remove the folder so that it is not a class.")
    if len(classes) == 1:
        hint = _deeper_root(train.folder, classes[0]) or "Add a folder with the images of another class."
        raise DatasetError(f"only one class, {classes[0]!r}; a classifier needs two or more", where=where, hint=hint)
    return classes


def _deeper_root(folder: Path, only: str) -> str | None:
    """Suggest the one folder inside if that holds the splits or the classes."""
    deeper = list_folder(folder / only).folders
    if len(deeper) > 1 or "train" in deeper:
        return f"Did you mean {folder / only}? It holds {listed(deeper, most=_CLASSES_SHOWN)}."
    return None


def label_samples(folders: ClassFolders, classes: Sequence[str]) -> tuple[Sample, ...]:
    """Return the images, labelled by the names of their folders; raise DatasetError for an unknown class."""
    _refuse_unknown_classes(folders, classes)
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
        Sample(folder / image, start + image, label, _cluster_of(image, folders.group_by))
        for image in folders.trees[class_name].images
    ]


def _cluster_of(image: str, group_by: re.Pattern[str] | None) -> str | None:
    """Return the text that names an image's cluster: that of `(?P<group>...)`, or else of the first parentheses."""
    found = group_by.search(image) if group_by is not None else None
    if found is None or group_by is None:
        return None
    return found["group" if "group" in group_by.groupindex else 1] or None


def _refuse_unknown_classes(folders: ClassFolders, classes: Sequence[str]) -> None:
    """Raise DatasetError where a folder that holds images is not one of the classes."""
    known = set(classes)
    unknown = [name for name, tree in folders.trees.items() if tree.images and name not in known]
    if unknown:
        shown = [_with_near_match(name, classes) for name in unknown[:_CLASSES_SHOWN]]  # each is compared with all
        named = listed([*shown, *unknown[_CLASSES_SHOWN:]], most=_CLASSES_SHOWN)
        message = f"unknown {'class' if len(unknown) == 1 else 'classes'} {named}"
        hint = f"The classes are {listed(classes, most=_CLASSES_SHOWN)}. Rename or remove the folder."
        raise DatasetError(message, where=str(folders.folder), hint=hint)


def _with_near_match(name: str, classes: Sequence[str]) -> str:
    # NFC is the one form that all encodings of the same letters share.
    composed = unicodedata.normalize("NFC", name)
    same = next((known for known in classes if unicodedata.normalize("NFC", known) == composed), None)
    if same is not None:
        return f"{name} ({name!a}, where train has {same!a}: the same letters in another encoding)"
    by_folded = {known.casefold(): known for known in classes}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f"{name} (did you mean {by_folded[near[0]]!r}?)" if near else name


def is_image(name: str) -> bool:
    """Return whether a file counts as an image, by its extension."""
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS  # noqa: PTH122 (60,000 Path objects are slow)


def is_folder(path: str | Path) -> bool:
    """Return whether a folder is there; False, where Path.is_dir raises, if a parent may not be entered."""
    return os.path.isdir(path)  # noqa: PTH112


def list_folder(folder: Path) -> Listing:
    """List one folder without its hidden entries; raise DatasetError where it cannot be read."""
    folders: list[str] = []
    images: list[str] = []
    others: list[str] = []
    for entry in _visible_entries(os.fspath(folder)):
        if _is_folder(entry):
            folders.append(entry.name)
        else:
            (images if is_image(entry.name) else others).append(entry.name)
    return Listing(bytewise(folders), bytewise(images), bytewise(others))


def walk(folder: Path) -> Tree:
    """Find every image below a folder, at any depth; do not follow a link to a folder above.

    Raises DatasetError for a folder that cannot be read, and for links that multiply.
    """
    images: list[str] = []
    others: list[str] = []
    seen: set[tuple[int, int]] = set()
    repeats = 0
    waiting = [(os.fspath(folder), "", _identities_above(folder))]
    while waiting:
        path, prefix, above = waiting.pop()
        try:
            status = os.stat(path)  # noqa: PTH116 (see is_image)
        except OSError as error:
            raise unreadable(path, error) from error
        # Links are followed, so a folder is known by its inode: one that is above itself is a loop, and is left out.
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            continue
        repeats += identity in seen
        if repeats > REPEATS_LIMIT:
            hint = "Remove the links to folders that hold links to each other."
            raise DatasetError("links lead to the same folders again and again", where=os.fspath(folder), hint=hint)
        seen.add(identity)
        for entry in _visible_entries(path):
            name = prefix + entry.name
            if _is_folder(entry):
                waiting.append((entry.path, name + "/", above | {identity}))
            else:
                (images if is_image(entry.name) else others).append(name)
    return Tree(bytewise(images), bytewise(others))


def unreadable(path: str, error: OSError) -> DatasetError:
    """Return the error for a folder that the system refuses to list."""
    return DatasetError(
        f"the folder cannot be read: {error.strerror}", where=path, hint="Check that it exists, and its permissions."
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
    """Return the device and inode of all folders above this one, by its path and behind links."""
    found = set()
    for parent in {*folder.absolute().parents, *folder.resolve().parents}:
        with suppress(OSError):
            status = parent.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder; a link to itself is not, and fails later when it is read."""
    try:
        return entry.is_dir()
    except OSError:
        return False
