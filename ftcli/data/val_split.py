"""Owns the cut of val out of train: a share of every class, chosen by hashes of names alone, whole groups together.

Owns what groups demand: every image has one, and none has images in two splits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftcli.data.class_folders import ClassFolders, Sample, label_samples, samples_of
from ftcli.errors import DatasetError

_Counts = NDArray[np.int64]
"""Images of each class, (C,)."""


def cut_val(
    train: ClassFolders, classes: Sequence[str], *, fraction: float
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return what stays in train and what becomes val, both in the order of the images.

    Without groups, images are chosen by a hash of their path within the class folder. With groups, these are chosen
    by a hash of their name, and the shares of the classes come as near to `fraction` as whole groups allow. Raises
    DatasetError where a class cannot be in both.
    """
    if train.group_by is not None:
        return _cut_groups(label_samples(train, classes), classes, fraction=fraction, where=str(train.folder))
    kept: list[Sample] = []
    cut: list[Sample] = []
    for label, name in enumerate(classes):
        samples = samples_of(train, name, label=label)
        if len(samples) == 1:
            raise DatasetError(
                f"class {name!r} has a single image, {samples[0].name}: it cannot be in train and in val",
                where=str(train.folder),
                hint="Add images to the class, remove it, or provide a val/ folder.",
            )
        images = train.trees[name].images
        chosen = set(_ranked(images)[: _share(len(images), fraction)])
        for image, sample in zip(images, samples, strict=True):
            (cut if image in chosen else kept).append(sample)
    return tuple(kept), tuple(cut)


def _cut_groups(
    samples: Sequence[Sample], classes: Sequence[str], *, fraction: float, where: str
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    counts = _counts(samples, len(classes))
    total = sum(counts.values(), start=np.zeros(len(classes), np.int64))
    wanted = np.array([_share(images, fraction) for images in total.tolist()])
    ranked = _ranked(list(counts))
    chosen: set[str] = set()
    cut = np.zeros_like(total)
    for group in ranked:
        after = cut + counts[group]
        if (after < total).all() and np.abs(wanted - after).sum() < np.abs(wanted - cut).sum():
            chosen.add(group)
            cut = after
    for label, name in enumerate(classes):
        if cut[label]:
            continue
        first = _first_that_fits(ranked, counts, label=label, room=total - cut)
        if first is None:
            raise _uncuttable(name, [group for group in ranked if counts[group][label]], where)
        chosen.add(first)
        cut = cut + counts[first]
    return (
        tuple(sample for sample in samples if sample.group not in chosen),
        tuple(sample for sample in samples if sample.group in chosen),
    )


def _counts(samples: Sequence[Sample], classes: int) -> dict[str, _Counts]:
    """Return the images of each class in every group."""
    counts: dict[str, _Counts] = {}
    for sample in samples:
        assert sample.group is not None, "every image has its group before the cut"
        counts.setdefault(sample.group, np.zeros(classes, np.int64))[sample.label] += 1
    return counts


def _first_that_fits(ranked: Sequence[str], counts: Mapping[str, _Counts], *, label: int, room: _Counts) -> str | None:
    """Return the first group that brings a class to val and takes no class from train."""
    return next((group for group in ranked if counts[group][label] and (counts[group] < room).all()), None)


def _uncuttable(name: str, groups: Sequence[str], where: str) -> DatasetError:
    if len(groups) == 1:
        what = f"all images of class {name!r} are in group {groups[0]!r}: it cannot be in train and in val"
    else:
        what = f"no group with class {name!r} can become val without taking a class's last images from train"
    return DatasetError(
        what, where=where, hint="Add images of other groups, change data.group_by, or provide a val/ folder."
    )


def _ranked(names: Sequence[str]) -> list[str]:
    """Return names in the order of their hashes: the same on every machine, whatever other names there are."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())


def _share(images: int, fraction: float) -> int:
    """Return how many of a class become val: at least one, and not all."""
    return min(max(round(images * fraction), 1), images - 1)


_SHOWN = 5


@dataclass(frozen=True)
class SplitGroup:
    """A group with images in several splits: each of these with the images that it holds."""

    group: str
    images: Mapping[str, tuple[str, ...]]


def refuse_ungrouped(samples: Iterable[Sample], pattern: re.Pattern[str], *, where: str) -> None:
    """Raise DatasetError where the pattern gives an image no group."""
    ungrouped = [sample.name for sample in samples if sample.group is None]
    if ungrouped:
        shown = ", ".join(ungrouped[:_SHOWN])
        more = f" and {len(ungrouped) - _SHOWN} more" if len(ungrouped) > _SHOWN else ""
        raise DatasetError(
            f"group_by {pattern.pattern!r} finds no group in {shown}{more}",
            where=where,
            hint="It is searched for in the path within the class folder; what its first parentheses hold, or those "
            "called (?P<group>...), names the group. Change it, or rename the files.",
        )


def groups_in_several_splits(splits: Mapping[str, Sequence[Sample]]) -> tuple[SplitGroup, ...]:
    """Return the groups that are not whole in one split, by name."""
    images: dict[str, dict[str, list[str]]] = {}
    for split, samples in splits.items():
        for sample in samples:
            if sample.group is not None:
                images.setdefault(sample.group, {}).setdefault(split, []).append(sample.name)
    return tuple(
        SplitGroup(group, {split: tuple(names) for split, names in of_group.items()})
        for group, of_group in sorted(images.items())
        if len(of_group) > 1
    )


def refuse_groups_in_several_splits(splits: Mapping[str, Sequence[Sample]], *, where: str) -> None:
    """Raise DatasetError where a group of data.group_by has images in more than one split."""
    leaking = groups_in_several_splits(splits)
    if leaking:
        lines = [f"{len(leaking)} of the groups of data.group_by are in several splits, so that these are not apart:"]
        for leak in leaking[:_SHOWN]:
            places = ", ".join(f"{split} ({names[0]})" for split, names in leak.images.items())
            lines.append(f"  {leak.group}: {places}")
        if len(leaking) > _SHOWN:
            lines.append(f"  and {len(leaking) - _SHOWN} more")
        raise DatasetError(
            "\n".join(lines),
            where=where,
            hint="Move the images of each group to one split; `ftcli check` lists them all.",
        )
