"""Owns what images look like from afar: a look at each one, and those that are suspicious."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image

from ftcli.data.checks.copies import LEAST_SIDE, SIDE_FOR_HASH, Fingerprint, fingerprint
from ftcli.data.checks.findings import Case, Finding, counted
from ftcli.data.class_folders import Sample
from ftcli.data.decoding import decode_with_facts, read_content
from ftcli.data.inspection import ImageFacts, facts_of

EXTREME_ASPECT = 8
"""From this ratio of the longer side to the shorter on, a square crop shows little of an image."""

TINY_SHARE = 1 / 8
"""Images with a shorter side below this share of the median one do not fit the others."""

ONE_COLOUR_LEVELS = 2
"""An image whose levels, of 255, differ by no more than this in each channel is all one colour."""

_EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg"},
    "MPO": {".jpg", ".jpeg"},
    "PNG": {".png"},
    "BMP": {".bmp"},
    "DIB": {".bmp"},
    "PPM": {".ppm", ".pgm"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}


@dataclass(frozen=True, eq=False)
class Look:
    """What a look at one image tells; no fingerprint where there is too little in it to be told apart."""

    facts: ImageFacts
    one_colour: bool
    fingerprint: Fingerprint | None


def look_at(sample: Sample) -> Look:
    """Read and decode an image once. Raises ImageError."""
    content = read_content(sample.path, name=sample.name)
    decoded = decode_with_facts(content, minimum_side=SIDE_FOR_HASH, name=sample.name)
    one_colour = _is_one_colour(decoded.image)
    plain = one_colour or min(decoded.width, decoded.height) < LEAST_SIDE
    return Look(facts_of(sample.name, content, decoded), one_colour, None if plain else fingerprint(decoded.image))


def appearance_findings(looks: Sequence[Look]) -> Iterator[Finding]:
    """Find images of one colour, of extreme shape, of several frames, and those whose extension misleads."""
    facts = [look.facts for look in looks]
    yield from _of_one_colour(looks)
    yield from _extreme(facts)
    yield from _of_several_frames(facts)
    yield from _misnamed(facts)
    yield from _too_small_to_compare(looks)


def _of_one_colour(looks: Sequence[Look]) -> Iterator[Finding]:
    cases = tuple(Case((look.facts.name,), _size(look.facts)) for look in looks if look.one_colour)
    if cases:
        message = f"{counted(len(cases), 'image is', 'images are')} all one colour."
        yield Finding("warning", "one-colour", message, "Look at them, and remove what shows nothing.", cases)


def _extreme(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    shorter = {fact.name: min(fact.width, fact.height) for fact in facts}
    least = TINY_SHARE * statistics.median(shorter.values()) if shorter else 0
    cases = tuple(
        Case((fact.name,), _size(fact))
        for fact in facts
        if shorter[fact.name] < least or max(fact.width, fact.height) >= EXTREME_ASPECT * shorter[fact.name]
    )
    if cases:
        yield Finding(
            "warning",
            "extreme-size",
            f"{counted(len(cases), 'image is', 'images are')} far smaller or narrower than the others.",
            "Look at them: the square that the network sees holds little of a strip, or a few pixels blown up.",
            cases,
        )


def _of_several_frames(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    cases = tuple(Case((fact.name,), f"{fact.frames} frames") for fact in facts if fact.frames > 1)
    if cases:
        yield Finding(
            "warning",
            "several-frames",
            f"{counted(len(cases), 'image is an animation', 'images are animations')} or of several pages.",
            "The first frame alone is used; store others as files of their own where they count.",
            cases,
        )


def _misnamed(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    cases = tuple(
        Case((fact.name,), f"holds {fact.format}")
        for fact in facts
        if PurePosixPath(fact.name).suffix.lower() not in _EXTENSIONS.get(fact.format, ())
    )
    if cases:
        yield Finding(
            "info",
            "other-format",
            f"{counted(len(cases), 'image is', 'images are')} of another format than the extension says.",
            "They are read by content, so nothing need be done.",
            cases,
        )


def _too_small_to_compare(looks: Sequence[Look]) -> Iterator[Finding]:
    small = sum(look.fingerprint is None and not look.one_colour for look in looks)
    if small:
        yield Finding(
            "info",
            "not-compared",
            f"{counted(small, 'image is', 'images are')} smaller than {LEAST_SIDE} pixels: too little to tell "
            "look-alikes from others.",
            "Copies of the very same file are found all the same.",
        )


def _is_one_colour(image: Image.Image) -> bool:
    return all(
        isinstance(channel, tuple) and channel[1] - channel[0] <= ONE_COLOUR_LEVELS for channel in image.getextrema()
    )


def _size(fact: ImageFacts) -> str:
    return f"{fact.width:,} x {fact.height:,} pixels"
