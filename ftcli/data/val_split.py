"""The val split cut out of train: a share of every class, chosen by hashes of names, whole clusters together.

A cluster is what `data.group_by` finds: images that show the same thing, such as one patient's scans.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ftcli.data.class_folders import ClassFolders, Sample, label_samples, samples_of
from ftcli.errors import DatasetError
from ftcli.phrases import count, listed

_SHOWN = 5

_Counts = NDArray[np.int64]
"""Images of each class, (C,)."""


def cut_val(
    train: ClassFolders, classes: Sequence[str], *, fraction: float
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return what stays in train and what becomes val, both in the order of the images.

    Without clusters, images are chosen by a hash of their path within the class folder. With clusters, these are
    chosen by a hash of their name, and the shares of the classes come as near to `fraction` as whole clusters allow.
    Raises DatasetError where a class cannot be in both.
    """
    if train.group_by is not None:
        return _cut_clusters(label_samples(train, classes), classes, fraction=fraction, where=str(train.folder))
    kept: list[Sample] = []
    cut: list[Sample] = []
    for label, name in enumerate(classes):
        samples = samples_of(train, name, label=label)
        if len(samples) == 1:
            message = f"class {name!r} has a single image, {samples[0].name}: it cannot be in train and in val"
            hint = "Add images to the class, remove it, or provide a val/ folder."
            raise DatasetError(message, where=str(train.folder), hint=hint)
        images = train.trees[name].images
        chosen = set(_ranked(images)[: _share(len(images), fraction)])
        for image, sample in zip(images, samples, strict=True):
            (cut if image in chosen else kept).append(sample)
    return tuple(kept), tuple(cut)


def _cut_clusters(
    samples: Sequence[Sample], classes: Sequence[str], *, fraction: float, where: str
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Choose clusters for val so that both splits hold every class, in two passes over the ranked clusters.

    Throughout, `in_val` counts the images of `chosen` by class, and `in_val < total` in every class: train never loses
    the last image of a class. The first pass takes a cluster only if that brings the counts nearer to `wanted`, so it
    never moves away; but it may leave a class out of val. Three clusters, in this order, and a fraction of 0.2:

               ants  bees
        total    10     5
        wanted    2     1     an empty val is 3 images away from it
        p1        6     0     would be 5 away (4 ants too many, 1 bee missing): not chosen
        p2        1     3     would be 3 away, not nearer: not chosen
        p3        3     2     is 2 away: chosen

    The second pass gives val the first cluster with each class that it still lacks.
    """
    counts = _images_by_cluster(samples, len(classes))
    total = sum(counts.values(), start=np.zeros(len(classes), np.int64))
    wanted = np.array([_share(images, fraction) for images in total.tolist()])
    ranked = _ranked(list(counts))
    chosen: set[str] = set()
    in_val = np.zeros_like(total)
    for cluster in ranked:
        after = in_val + counts[cluster]
        leaves_every_class_in_train = bool((after < total).all())
        if leaves_every_class_in_train and _distance(after, wanted) < _distance(in_val, wanted):
            chosen.add(cluster)
            in_val = after
    for label, name in enumerate(classes):
        if in_val[label]:
            continue
        # No cluster with this class is chosen yet, so whatever is found here is new to val.
        holding = [cluster for cluster in ranked if counts[cluster][label]]
        fitting = [cluster for cluster in holding if (in_val + counts[cluster] < total).all()]
        if not fitting:
            raise _uncuttable(name, holding, where)
        chosen.add(fitting[0])
        in_val = in_val + counts[fitting[0]]
    return (
        tuple(sample for sample in samples if sample.cluster not in chosen),
        tuple(sample for sample in samples if sample.cluster in chosen),
    )


def _images_by_cluster(samples: Sequence[Sample], classes: int) -> dict[str, _Counts]:
    """Return the images of each class in every cluster."""
    counts: dict[str, _Counts] = {}
    for sample in samples:
        assert sample.cluster is not None, "every image has its cluster before the cut"
        counts.setdefault(sample.cluster, np.zeros(classes, np.int64))[sample.label] += 1
    return counts


def _distance(counts: _Counts, wanted: _Counts) -> int:
    return int(np.abs(wanted - counts).sum())


def _uncuttable(name: str, clusters: Sequence[str], where: str) -> DatasetError:
    if len(clusters) == 1:
        what = f"all images of class {name!r} are in group {clusters[0]!r}: it cannot be in train and in val"
    else:
        what = f"no group with class {name!r} can become val without taking a class's last images from train"
    return DatasetError(
        what, where=where, hint="Add images of other groups, change data.group_by, or provide a val/ folder."
    )


def _ranked(names: Sequence[str]) -> list[str]:
    """Sort names by their hashes: the order is the same on every machine, and independent of the other names."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())


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
