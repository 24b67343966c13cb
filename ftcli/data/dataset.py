"""A dataset: classes, splits and labelled samples read from folders, without opening an image."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftcli.data.class_folders import (
    ClassFolders,
    Reading,
    Sample,
    label_samples,
    list_folder,
    read_class_folders,
    training_classes,
    unreadable,
)
from ftcli.data.val_split import cut_val, refuse_unclustered
from ftcli.errors import DatasetError
from ftcli.recipe.keys import DEFAULT_VAL_FRACTION

__all__ = ["Dataset", "Sample", "open_dataset", "open_scored_folder", "val_folder_of"]

TRAIN, VAL, TEST = "train", "val", "test"
VAL_FOLDERS = (VAL, "valid", "validation")
SPLIT_FOLDERS = (TRAIN, *VAL_FOLDERS, TEST)

_LOOKS_LIKE_SPLIT = frozenset({*SPLIT_FOLDERS, "training", "testing"})
_LAYOUTS = (
    "Expected train/ and val/ (and perhaps test/) with one folder per class each, or one folder of class folders."
)


@dataclass(frozen=True)
class Dataset:
    """Images by split. `val_fraction` is the share of train that became val; None where val has a folder.

    `unlabelled` are the files and folders that hold no labelled image; `group_by` is the pattern of the clusters.
    """

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    unlabelled: tuple[Path, ...]
    val_fraction: float | None
    group_by: str | None = None


def open_dataset(
    root: str | Path,
    *,
    val_fraction: float | None = None,
    group_by: str | None = None,
    left_out: Collection[str] = (),
    alike: Mapping[str, str] | None = None,
) -> Dataset:
    """Read the classes and splits of a folder with train/ and val/ [and test/], or of one folder of classes.

    Classes are those of train. Without a val folder, `val_fraction` (or else the default) of each class in train
    becomes val, whole clusters of `group_by` together, and images together that have one value in `alike`, by name.
    Images named in `left_out` are treated as missing.
    Raises DatasetError, also when `val_fraction` is given although there is a val folder.
    """
    root = Path(root)
    fraction = DEFAULT_VAL_FRACTION if val_fraction is None else val_fraction
    if not 0 < fraction < 1:
        raise DatasetError(f"val_fraction is {fraction}", where=str(root), hint="Choose a number between 0 and 1.")
    pattern = None if group_by is None else re.compile(group_by)
    reading = Reading(pattern, frozenset(left_out))
    folders = _folders_of(root)
    val_folder = _val_folder(root, folders) if TRAIN in folders else None
    if val_folder and val_fraction is not None:
        message = f"there is a {val_folder}/ folder, so val_fraction would be ignored"
        raise DatasetError(message, where=str(root), hint=f"Remove data.val_fraction, or move {val_folder}/ away.")
    if TRAIN not in folders:
        _refuse_misnamed_splits(root, folders)
        return _open_classes(root, reading, fraction=fraction, alike=alike)
    return _open_splits(root, reading, folders=folders, val_folder=val_folder, fraction=fraction, alike=alike)


def val_folder_of(root: Path) -> str | None:
    """Return the name of val's folder in a root with train/; None if val is cut from train. Raises DatasetError."""
    folders = _folders_of(root)
    return _val_folder(root, folders) if TRAIN in folders else None


def open_scored_folder(folder: str | Path, *, classes: Sequence[str], split: str | None = None) -> tuple[Sample, ...]:
    """Read the images to score, from a folder of class folders or from one split of a root with splits.

    Labels are positions in `classes`. Without `split`, a root gives val, or else test; the samples' names
    start with the split's folder. Raises DatasetError for an unknown class, a missing split, or no images.
    """
    folder = Path(folder)
    folders = _folders_of(folder)
    split_folders = [name for name in folders if name in SPLIT_FOLDERS and name not in classes]
    if not split_folders:
        if split is not None:
            message = f"no split {split!r} in this folder; its folders are: {', '.join(folders) or 'none'}"
            hint = "A folder of class folders is scored whole: leave the split out."
            raise DatasetError(message, where=str(folder), hint=hint)
        found = read_class_folders(folder, prefix="")
    else:
        name = _scored_split(folder, split_folders, split=split)
        found = read_class_folders(folder / name, prefix=f"{name}/")
    samples = label_samples(found, classes)
    if not samples:
        raise DatasetError("no images in class folders were found", where=str(found.folder), hint=_LAYOUTS)
    return samples


def _open_classes(root: Path, reading: Reading, *, fraction: float, alike: Mapping[str, str] | None) -> Dataset:
    folders = read_class_folders(root, prefix="", reading=reading)
    classes = training_classes(folders)
    _refuse_unclustered(folders, classes)
    train, val = cut_val(folders, classes, fraction=fraction, alike=alike)
    return Dataset(
        root,
        classes,
        {TRAIN: train, VAL: val},
        folders.unlabelled,
        fraction,
        reading.group_by and reading.group_by.pattern,
    )


def _open_splits(
    root: Path,
    reading: Reading,
    *,
    folders: Sequence[str],
    val_folder: str | None,
    fraction: float,
    alike: Mapping[str, str] | None,
) -> Dataset:
    listed = [name for name in (TRAIN, val_folder or "", TEST) if name in folders]
    found = {name: read_class_folders(root / name, prefix=f"{name}/", reading=reading) for name in listed}
    classes = training_classes(found[TRAIN])
    top = list_folder(root)
    extra = [name for name in top.folders if name not in SPLIT_FOLDERS]
    unlabelled = [root / name for name in (*top.images, *top.others, *extra)]
    unlabelled += [path for each in found.values() for path in each.unlabelled]
    for each in found.values():
        _refuse_unclustered(each, classes)
    if val_folder:
        splits = {TRAIN: label_samples(found[TRAIN], classes), VAL: label_samples(found[val_folder], classes)}
        if not splits[VAL]:
            hint = "Add images, or remove the folder so that a share of train becomes val."
            raise DatasetError("no images in class folders were found", where=str(root / val_folder), hint=hint)
    else:
        train, val = cut_val(found[TRAIN], classes, fraction=fraction, alike=alike)
        splits = {TRAIN: train, VAL: val}
    if TEST in found and (labelled := label_samples(found[TEST], classes)):
        splits[TEST] = labelled
    cut = None if val_folder else fraction
    return Dataset(root, classes, splits, tuple(unlabelled), cut, reading.group_by and reading.group_by.pattern)


def _refuse_unclustered(folders: ClassFolders, classes: Sequence[str]) -> None:
    if folders.group_by is not None:
        refuse_unclustered(label_samples(folders, classes), folders.group_by, where=str(folders.folder))


def _folders_of(root: Path) -> tuple[str, ...]:
    try:
        there = root.exists()
    except PermissionError as error:
        raise unreadable(str(root), error) from error
    if not there:
        raise DatasetError("no such folder", where=str(root), hint="Check data.root, or the path you typed.")
    if not root.is_dir():
        raise DatasetError("this is a file, not a folder of images", where=str(root), hint=_LAYOUTS)
    return list_folder(root).folders


def _val_folder(root: Path, folders: Sequence[str]) -> str | None:
    found = [name for name in VAL_FOLDERS if name in folders]
    if len(found) > 1:
        message = f"{' and '.join(f'{name}/' for name in found)} both mean val"
        raise DatasetError(message, where=str(root), hint="Keep one of them, or merge them.")
    return found[0] if found else None


def _refuse_misnamed_splits(root: Path, folders: Sequence[str]) -> None:
    """Raise DatasetError where folders with the names of splits would be taken for classes.

    A single such name is a class ("valid" next to "invalid"), unless it holds folders of its own.
    """
    suspects = [name for name in folders if name.casefold() in _LOOKS_LIKE_SPLIT]
    if (
        len(suspects) > 1
        or any(list_folder(root / name).folders for name in suspects)
        or suspects == list(folders) != []
    ):
        message = f"no train/, but {', '.join(f'{name}/' for name in suspects)}: splits, or classes?"
        hint = "Name the splits train/, val/ and test/; or keep the class folders in a folder train/."
        raise DatasetError(message, where=str(root), hint=hint)


def _scored_split(root: Path, split_folders: Sequence[str], *, split: str | None) -> str:
    """Choose the folder of the wanted split: the one named, or else val, or else test."""
    val_folder = _val_folder(root, split_folders)
    if split is None:
        chosen = val_folder or (TEST if TEST in split_folders else None)
    elif split in VAL_FOLDERS:
        chosen = val_folder
    else:
        chosen = split if split in split_folders else None
    if chosen is None:
        message = f"no split {split!r} in this folder" if split else "neither val/ nor test/ in this folder"
        hint = f"Name one of the splits that exist: {', '.join(split_folders)}."
        raise DatasetError(message, where=str(root), hint=hint)
    return chosen
