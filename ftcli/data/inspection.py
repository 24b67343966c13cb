"""Owns the look at every image before training: hashes, sizes, and which images are bad, all of them and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ftcli.data.class_folders import Sample
from ftcli.data.decoding import Decoded, decode_with_facts, read_content
from ftcli.errors import ImageError, one_line

_T = TypeVar("_T")

SKIP_THEM = "Or set data.on_bad_image: skip."
"""What else can be done about bad images, where there is a recipe to change."""

Heard = Callable[[int, int], None]
"""Hears how many images have been looked at, of how many."""


def unheard(done: int, total: int) -> None:
    """Hear nothing."""


@dataclass(frozen=True)
class ImageFacts:
    """What one file holds: sha256 of its bytes (hex), upright size in pixels, and what it says of itself."""

    name: str
    sha256: str
    width: int
    height: int
    mode: str
    format: str
    orientation: int = 1
    frames: int = 1


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used, why, and what to do about it, which a run directory does not keep."""

    path: str
    reason: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """Return {"path", "reason"}."""
        return {"path": self.path, "reason": self.reason}


@dataclass(frozen=True)
class Survey:
    """The facts of the images that can be used, in order, and those that cannot."""

    facts: tuple[ImageFacts, ...]
    bad: tuple[BadImage, ...]

    def refuse_bad(self, *, otherwise: str = "") -> None:
        """Raise one ImageError that names every bad image; `otherwise` says what else can be done about them."""
        if not self.bad:
            return
        advice = " ".join(filter(None, dict.fromkeys([*(each.advice for each in self.bad), otherwise])))
        if len(self.bad) == 1:
            raise ImageError(self.bad[0].reason, where=self.bad[0].path, hint=advice)
        lines = [
            f"{len(self.bad)} images cannot be used:",
            *(f"  {one_line(each.path)}: {each.reason}" for each in self.bad),
        ]
        raise ImageError("\n".join(lines), hint=advice)


def survey_images(samples: Sequence[Sample], *, workers: int, heard: Heard = unheard) -> Survey:
    """Read and decode every image once."""
    results = attempt_all(_inspect, samples, workers=workers, heard=heard)
    return Survey(
        tuple(result for result in results if isinstance(result, ImageFacts)),
        tuple(bad_image(result) for result in results if isinstance(result, ImageError)),
    )


def hash_images(samples: Sequence[Sample], *, workers: int) -> tuple[str | None, ...]:
    """Return the sha256 of every file's bytes (hex), None for a file that cannot be read."""
    results = attempt_all(_hash, samples, workers=workers)
    return tuple(None if isinstance(result, ImageError) else result for result in results)


def attempt_all(
    action: Callable[[Sample], _T], samples: Sequence[Sample], *, workers: int, heard: Heard = unheard
) -> list[_T | ImageError]:
    """Apply an action to all samples, in order, on threads: Pillow and hashlib release the interpreter lock.

    An ImageError stands in the place of its result.
    """

    def attempt(sample: Sample) -> _T | ImageError:
        try:
            return action(sample)
        except ImageError as error:
            return error

    results = []
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for result in pool.map(attempt, samples):
            results.append(result)
            heard(len(results), len(samples))
    return results


def facts_of(name: str, content: bytes, decoded: Decoded) -> ImageFacts:
    """Return the facts of an image that was read and decoded."""
    return ImageFacts(
        name,
        hashlib.sha256(content).hexdigest(),
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        format=decoded.format,
        orientation=decoded.orientation,
        frames=decoded.frames,
    )


def bad_image(error: ImageError) -> BadImage:
    """Return what an error says of one image."""
    assert error.where is not None, "errors of one image name it"
    return BadImage(error.where, error.message, error.hint or "")


def _inspect(sample: Sample) -> ImageFacts:
    content = read_content(sample.path, name=sample.name)
    # The smallest scale: every byte of a JPEG is still read, so that a file cut short is noticed.
    return facts_of(sample.name, content, decode_with_facts(content, minimum_side=1, name=sample.name))


def _hash(sample: Sample) -> str:
    return hashlib.sha256(read_content(sample.path, name=sample.name)).hexdigest()
