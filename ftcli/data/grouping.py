"""Owns what groups demand: every image has one, and none has images in two splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ftcli.data.class_folders import Sample
from ftcli.errors import DatasetError

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
