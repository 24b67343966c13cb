"""Copies of images: the same content, or the same picture resized, re-encoded or mirrored in another split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ftcli.data.checks.close_pairs import BITS, LIMIT_BITS
from ftcli.data.checks.findings import Case, Finding, Level
from ftcli.data.checks.fingerprints import Fingerprint, nearest
from ftcli.data.dataset import Dataset, Sample
from ftcli.phrases import count


@dataclass(frozen=True)
class _Copies:
    """The images with one content, by split."""

    samples: Mapping[str, tuple[Sample, ...]]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(sample.name for samples in self.samples.values() for sample in samples)

    @property
    def labels(self) -> set[int]:
        return {sample.label for samples in self.samples.values() for sample in samples}

    def within(self, *splits: str) -> tuple[str, ...]:
        return tuple(sample.name for split in splits for sample in self.samples[split])


@dataclass(frozen=True)
class Earlier:
    """What the initial weights from `source` were trained on: the name of each image by its hash.

    `unlisted` is the file among them and the weights that they began with of which that is not known.
    """

    source: str
    images: Mapping[str, str]
    unlisted: str | None = None


def earlier_findings(dataset: Dataset, sha256_of: Mapping[str, str], earlier: Earlier | None) -> Iterator[Finding]:
    """Find images of val and test that the initial weights were trained on."""
    if earlier is None:
        return
    for split in [split for split in dataset.splits if split != "train"]:
        cases = tuple(
            Case((sample.name,), f"there {earlier.images[sha256]}")
            for sample in dataset.splits[split]
            if (sha256 := sha256_of.get(sample.name, "")) in earlier.images
        )
        if cases:
            images = count(len(cases), "image of", "images of")
            message = (
                f"The weights of {earlier.source} were trained on {images} {split}, which makes {split} look better "
                "than it is."
            )
            advice = f"Choose other weights or other images for {split}, or cut val as that run did."
            yield Finding("error", "seen-before", message, advice, cases)
    if earlier.unlisted is not None:
        message = f"The images that the weights of {earlier.unlisted} were trained on are not known."
        advice = "They may be among those of val. Weights inside the directory of a run have a list."
        yield Finding("info", "weights-unlisted", message, advice)


def duplicate_findings(dataset: Dataset, sha256_of: Mapping[str, str]) -> Iterator[Finding]:
    """Find images with the same content, from the hashes by name; images without one are skipped."""
    copies = _copies(dataset, sha256_of)
    yield from _conflicts(dataset, copies)
    for one, other in combinations(dataset.splits, 2):
        yield from _leak(dataset, copies, one, other)
    yield from _repeats(copies)


def in_several_splits(dataset: Dataset, one: str, other: str) -> str:
    """Return what to do about images that two splits share."""
    if dataset.val_fraction is not None and {one, other} == {"train", "val"}:
        return (
            "Remove the copies, or keep related images in one split with data.keep_together: similar or data.group_by: "
            "val was cut from this folder."
        )
    return f"Remove them from {one} or from {other}."


def _copies(dataset: Dataset, sha256_of: Mapping[str, str]) -> list[_Copies]:
    found: dict[str, dict[str, list[Sample]]] = {}
    for split, samples in dataset.splits.items():
        for sample in samples:
            if (sha256 := sha256_of.get(sample.name)) is not None:
                found.setdefault(sha256, {}).setdefault(split, []).append(sample)
    return [
        _Copies({split: tuple(samples) for split, samples in by_split.items()})
        for by_split in found.values()
        if sum(map(len, by_split.values())) > 1
    ]


def _conflicts(dataset: Dataset, copies: list[_Copies]) -> Iterator[Finding]:
    cases = tuple(
        Case(each.files, " and ".join(dataset.classes[label] for label in sorted(each.labels)))
        for each in copies
        if len(each.labels) > 1
    )
    if cases:
        message = f"{count(len(cases), 'image has', 'images have')} more than one label."
        yield Finding("error", "label-conflict", message, "Keep each under its true label only.", cases)


def _leak(dataset: Dataset, copies: list[_Copies], one: str, other: str) -> Iterator[Finding]:
    cases = tuple(Case(each.within(one, other)) for each in copies if {one, other} <= each.samples.keys())
    level: Level = "error" if one == "train" else "warning"
    effect = f"which makes {other} look better than it is" if one == "train" else f"so {other} is not independent"
    if cases:
        message = f"{count(len(cases), 'image is', 'images are')} in {one} and in {other}, {effect}."
        yield Finding(level, "leak", message, in_several_splits(dataset, one, other), cases)


def _repeats(copies: list[_Copies]) -> Iterator[Finding]:
    cases = tuple(
        Case(each.within(split))
        for each in copies
        if len(each.labels) == 1  # with several labels, it is not known which copy to remove
        for split, samples in each.samples.items()
        if len(samples) > 1
    )
    if cases:
        message = f"{count(len(cases), 'image is', 'images are')} more than once in a split, and each copy counts."
        yield Finding("warning", "duplicate", message, "Remove the copies.", cases)


def near_duplicate_findings(
    dataset: Dataset, fingerprints: Mapping[str, Fingerprint], sha256_of: Mapping[str, str]
) -> Iterator[Finding]:
    """Find images of a later split that look like one of an earlier split and are not the same file.

    Images without a fingerprint are skipped. A case names an image and the one most like it.
    """
    for one, other in combinations(dataset.splits, 2):
        pool, wanted = (
            {sample.name: fingerprints[sample.name] for sample in dataset.splits[split] if sample.name in fingerprints}
            for split in (one, other)
        )
        in_pool = {sha256_of[name] for name in pool}
        cases = _nearest_cases(pool, {name: wanted[name] for name in wanted if sha256_of[name] not in in_pool})
        if cases:
            message = (
                f"{count(len(cases), 'image')} of {other} may be in {one} as well: resized, re-encoded or mirrored."
            )
            advice = f"Look at them. {in_several_splits(dataset, one, other)}"
            yield Finding("warning", "near-duplicate", message, advice, cases)


def _nearest_cases(pool: Mapping[str, Fingerprint], wanted: Mapping[str, Fingerprint]) -> tuple[Case, ...]:
    """Return the wanted images that look like one of the pool, the most similar first."""
    if not pool or not wanted:
        return ()
    names, pool_names = list(wanted), list(pool)
    prints = np.stack([wanted[name] for name in names])  # (M, 2, 4): as it is, and mirrored
    # The pool is compared as it is: mirroring the wanted image finds the mirrored copies already.
    upright_pool = np.stack([pool[name][0] for name in pool_names])
    bits, positions = nearest(prints[:, 0], upright_pool)
    mirrored_bits, mirrored_positions = nearest(prints[:, 1], upright_pool)
    cases = []
    for row in np.argsort(np.minimum(bits, mirrored_bits), kind="stable"):
        mirrored = bool(mirrored_bits[row] < bits[row])
        apart = mirrored_bits[row] if mirrored else bits[row]
        if apart > LIMIT_BITS:
            break
        source = pool_names[mirrored_positions[row] if mirrored else positions[row]]
        cases.append(Case((source, names[row]), f"{'mirrored; ' if mirrored else ''}{apart} of {BITS} bits differ"))
    return tuple(cases)
