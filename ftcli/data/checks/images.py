"""Checks of single images: one colour, extreme size, several frames, and misleading extensions."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ftcli.data.checks.findings import Case, Finding
from ftcli.data.checks.fingerprints import LEAST_SIDE, SIDE_FOR_HASH, Fingerprint, fingerprint
from ftcli.data.class_folders import Sample
from ftcli.data.decoding import decode_with_facts, read_content
from ftcli.data.inspection import BadImage, ImageFacts, OnImage, attempt_all, bad_image
from ftcli.errors import ImageError
from ftcli.phrases import count

EXTREME_ASPECT = 8
"""From this ratio of the longer side to the shorter on, a square crop shows little of an image."""

TINY_SHARE = 1 / 8
"""Images with a shorter side below this share of the median one are far smaller than the others."""

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
class ImageCheck:
    """What decoding one image shows; no fingerprint where it holds too little detail for one."""

    facts: ImageFacts
    one_colour: bool
    fingerprint: Fingerprint | None


def check_images(
    samples: Sequence[Sample], *, workers: int, on_image: OnImage | None = None
) -> tuple[list[ImageCheck], tuple[BadImage, ...]]:
    """Read and decode every image once; return what each shows, and those that cannot be used."""
    results = attempt_all(check_image, samples, workers=workers, on_image=on_image)
    images = [result for result in results if isinstance(result, ImageCheck)]
    return images, tuple(bad_image(result) for result in results if isinstance(result, ImageError))


def check_image(sample: Sample) -> ImageCheck:
    """Read and decode an image once. Raises ImageError."""
    content = read_content(sample.path, name=sample.name)
    image, facts = decode_with_facts(content, minimum_side=SIDE_FOR_HASH, name=sample.name)
    ranges = [each for each in image.getextrema() if isinstance(each, tuple)]
    one_colour = all(highest - lowest <= ONE_COLOUR_LEVELS for lowest, highest in ranges)
    plain = one_colour or min(facts.width, facts.height) < LEAST_SIDE
    return ImageCheck(facts, one_colour, None if plain else fingerprint(image))


def fingerprints_of(images: Sequence[ImageCheck]) -> dict[str, Fingerprint]:
    """Return the fingerprints by name of the images that have one."""
    return {image.facts.name: image.fingerprint for image in images if image.fingerprint is not None}


def colour_findings(images: Sequence[ImageCheck]) -> Iterator[Finding]:
    """Find images of one colour."""
    cases = tuple(Case((image.facts.name,), _size(image.facts)) for image in images if image.one_colour)
    if cases:
        message = f"{count(len(cases), 'image is', 'images are')} all one colour."
        yield Finding("warning", "one-colour", message, "Look at them, and remove those that show nothing.", cases)


def size_findings(images: Sequence[ImageCheck]) -> Iterator[Finding]:
    """Find images that are far smaller than the others, and strips."""
    shorter = {image.facts.name: min(image.facts.width, image.facts.height) for image in images}
    least = TINY_SHARE * statistics.median(shorter.values()) if shorter else 0
    cases = tuple(
        Case((image.facts.name,), _size(image.facts))
        for image in images
        if shorter[image.facts.name] < least
        or max(image.facts.width, image.facts.height) >= EXTREME_ASPECT * shorter[image.facts.name]
    )
    if cases:
        message = f"{count(len(cases), 'image is', 'images are')} far smaller or narrower than the others."
        advice = "Look at them: a square crop shows little of a strip, and small images are enlarged."
        yield Finding("warning", "extreme-size", message, advice, cases)


def frame_findings(images: Sequence[ImageCheck]) -> Iterator[Finding]:
    """Find animations and files of several pages."""
    facts = [image.facts for image in images if image.facts.frames > 1]
    cases = tuple(Case((each.name,), f"{each.frames} frames") for each in facts)
    if cases:
        message = f"{count(len(cases), 'image has', 'images have')} several frames or pages."
        advice = "Only the first frame is used; save others as files of their own if you need them."
        yield Finding("warning", "several-frames", message, advice, cases)


def format_findings(images: Sequence[ImageCheck]) -> Iterator[Finding]:
    """Find images whose extension names another format."""
    cases = tuple(
        Case((image.facts.name,), f"holds {image.facts.format}")
        for image in images
        if PurePosixPath(image.facts.name).suffix.lower() not in _EXTENSIONS.get(image.facts.format, ())
    )
    if cases:
        message = f"{count(len(cases), 'image has', 'images have')} another format than the extension says."
        yield Finding("info", "other-format", message, "No action needed: images are read by content.", cases)


def uncompared_findings(images: Sequence[ImageCheck]) -> Iterator[Finding]:
    """Report how many images are too small to be compared with others."""
    small = sum(image.fingerprint is None and not image.one_colour for image in images)
    if small:
        message = (
            f"{count(small, 'image is', 'images are')} smaller than {LEAST_SIDE} pixels, too small to search for "
            "similar images."
        )
        yield Finding("info", "not-compared", message, "Copies of the very same file are found all the same.")


def _size(fact: ImageFacts) -> str:
    return f"{fact.width:,} x {fact.height:,} pixels"
