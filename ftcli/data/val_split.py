"""The val split cut out of train: a share of every class, chosen by hashes of names, whole clusters together.

A cluster is what `data.group_by` finds: images that show the same thing, such as one patient's scans. Copies of one
image go together, too.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ftcli.data.class_folders import ClassFolders, Sample, label_samples
from ftcli.errors import DatasetError
from ftcli.phrases import count, listed

_SHOWN = 5


class _Unit(NamedTuple):
    """Images that are cut as one: the name that places them, theirs in order, and how many there are of each label."""

    rank: str
    samples: tuple[Sample, ...]
    images: Mapping[int, int]


def cut_val(
    train: ClassFolders, classes: Sequence[str], *, fraction: float, alike: Mapping[str, str] | None = None
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return what stays in train and what becomes val, both in the order of the images.

    Images are chosen by a hash of their path within the class folder. Those with one value in `alike`, by name, are
    never separated, nor is a cluster: it is chosen by a hash of its name. The shares of the classes come as near to
    `fraction` as that allows. Raises DatasetError where a class cannot be in both.
    """
    samples = label_samples(train, classes)
    images = [sample.name.removeprefix(f"{train.prefix}{classes[sample.label]}/") for sample in samples]
    units = _units(samples, images, alike or {})
    chosen = _choose(units, classes, fraction=fraction, where=str(train.folder))
    in_val = {sample.name for unit in chosen for sample in unit.samples}
    return (
        tuple(sample for sample in samples if sample.name not in in_val),
        tuple(sample for sample in samples if sample.name in in_val),
    )


def _units(samples: Sequence[Sample], images: Sequence[str], alike: Mapping[str, str]) -> list[_Unit]:
    """Join images of one cluster and those that are alike; `images` are their paths within the class folder.

    Of several names of a unit, the first one by its bytes decides where it goes, so that a copy changes little.
    """
    keys = [sample.cluster or sample.name for sample in samples]
    first: dict[str, str] = {}
    pairs = []
    for sample, key in zip(samples, keys, strict=True):
        if (value := alike.get(sample.name)) is not None:
            pairs.append((key, first.setdefault(value, key)))
    joined = join(pairs)
    members: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        members.setdefault(joined.get(key, key), []).append(position)
    units = []
    for positions in members.values():
        own = tuple(samples[position] for position in positions)
        if len(own) == 1:  # nearly all of a million units
            units.append(_Unit(own[0].cluster or images[positions[0]], own, {own[0].label: 1}))
            continue
        names = [samples[position].cluster or images[position] for position in positions]
        units.append(_Unit(min(names, key=_bytes), own, Counter(sample.label for sample in own)))
    return units


def join(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return one name for each set of names that pairs connect, by each of its names (union-find)."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while (parent := parents.setdefault(name, name)) != name:
            parents[name] = parents[parent]
            name = parent
        return name

    for one, other in pairs:
        parents[root(one)] = root(other)
    return {name: root(name) for name in list(parents)}


def _choose(units: Sequence[_Unit], classes: Sequence[str], *, fraction: float, where: str) -> list[_Unit]:
    """Choose units for val so that both splits hold every class, in two passes over the ranked units.

    Throughout, `in_val` counts the images of the chosen ones by class, and `in_val < total` in every class: train never
    loses the last image of a class. The first pass takes a unit only if that brings the counts nearer to `wanted`, so
    it never moves away; of units of one image, it takes the first ones of each class. But it may leave a class out of
    val. Three clusters, in this order, and a fraction of 0.2:

               ants  bees
        total    10     5
        wanted    2     1     an empty val is 3 images away from it
        p1        6     0     would be 5 away (4 ants too many, 1 bee missing): not chosen
        p2        1     3     would be 3 away, not nearer: not chosen
        p3        3     2     is 2 away: chosen

    The second pass gives val the first unit with each class that it still lacks.
    """
    total, in_val = [0] * len(classes), [0] * len(classes)
    for unit in units:
        _add(total, unit)
    wanted = [_share(images, fraction) for images in total]
    # The order is the same on every machine, and independent of the other names.
    ranked = sorted(units, key=lambda unit: hashlib.sha256(_bytes(unit.rank)).digest())
    chosen = []
    for unit in ranked:
        nearer = sum(
            abs(wanted[label] - in_val[label] - images) - abs(wanted[label] - in_val[label])
            for label, images in unit.images.items()
        )
        if nearer < 0 and _leaves_all_in_train(unit, in_val, total):
            chosen.append(unit)
            _add(in_val, unit)
    for label in [label for label, images in enumerate(in_val) if not images]:
        if in_val[label]:  # by a unit that was added for another class
            continue
        # No unit with this class is chosen yet, so whatever is found here is new to val.
        holding = [unit for unit in ranked if label in unit.images]
        fitting = next((unit for unit in holding if _leaves_all_in_train(unit, in_val, total)), None)
        if fitting is None:
            raise _uncuttable(classes[label], holding, where)
        chosen.append(fitting)
        _add(in_val, fitting)
    return chosen


def _add(counts: list[int], unit: _Unit) -> None:
    for label, images in unit.images.items():
        counts[label] += images


def _leaves_all_in_train(unit: _Unit, in_val: Sequence[int], total: Sequence[int]) -> bool:
    return all(in_val[label] + images < total[label] for label, images in unit.images.items())


def _uncuttable(name: str, units: Sequence[_Unit], where: str) -> DatasetError:
    first = units[0].samples[0]
    hint = "Add images of other groups, change data.group_by, or provide a val/ folder."
    if first.cluster is not None:
        what = f"no group with class {name!r} can become val without taking a class's last images from train"
        if len(units) == 1:
            what = f"all images of class {name!r} are in group {first.cluster!r}: it cannot be in train and in val"
        return DatasetError(what, where=where, hint=hint)
    if len(units) > 1:
        what = f"class {name!r} shares its images with other classes, and no cut leaves every class in train and in val"
        hint = "Keep each image under its true label only, or provide a val/ folder."
    elif len(units[0].samples) == 1:
        what = f"class {name!r} has a single image, {first.name}: it cannot be in train and in val"
        hint = "Add images to the class, remove it, or provide a val/ folder."
    else:
        what = f"all images of class {name!r} are alike, such as {first.name}: it cannot be in train and in val"
        hint = "Add other images to the class, remove it, or provide a val/ folder. `ftcli check` shows the copies."
    return DatasetError(what, where=where, hint=hint)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _share(images: int, fraction: float) -> int:
    """Return how many of a class become val: at least one, and not all."""
    return min(max(round(images * fraction), 1), images - 1)


def refuse_unclustered(samples: Iterable[Sample], pattern: re.Pattern[str], *, where: str) -> None:
    """Raise DatasetError where the pattern of data.group_by does not match an image."""
    unclustered = [sample.name for sample in samples if sample.cluster is None]
    if unclustered:
        raise DatasetError(
            f"group_by {pattern.pattern!r} finds no group in {listed(unclustered, most=_SHOWN)}",
            where=where,
            hint="The pattern is searched in the path within the class folder; the text of its first parentheses, or "
            "of (?P<group>...), is the group. Change it, or rename the files.",
        )


def clusters_in_several_splits(splits: Mapping[str, Sequence[Sample]]) -> dict[str, dict[str, list[str]]]:
    """Return the clusters that are not whole in one split, by name, each as the names of its images by split."""
    images: dict[str, dict[str, list[str]]] = {}
    for split, samples in splits.items():
        for sample in samples:
            if sample.cluster is not None:
                images.setdefault(sample.cluster, {}).setdefault(split, []).append(sample.name)
    return {cluster: by_split for cluster, by_split in sorted(images.items()) if len(by_split) > 1}


def refuse_clusters_in_several_splits(splits: Mapping[str, Sequence[Sample]], *, where: str) -> None:
    """Raise DatasetError where a cluster has images in more than one split."""
    leaking = clusters_in_several_splits(splits)
    if leaking:
        lines = [f"{count(len(leaking), 'group')} of data.group_by in more than one split:"]
        for cluster, by_split in list(leaking.items())[:_SHOWN]:
            places = ", ".join(f"{split} ({names[0]})" for split, names in by_split.items())
            lines.append(f"  {cluster}: {places}")
        if len(leaking) > _SHOWN:
            lines.append(f"  and {len(leaking) - _SHOWN:,} more")
        hint = "Move the images of each group to one split; `ftcli check` lists them all."
        raise DatasetError("\n".join(lines), where=where, hint=hint)
