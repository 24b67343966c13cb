"""Inspection of every image before training: its hash and size, or the reason why it cannot be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from ftcli.data.class_folders import Sample
from ftcli.data.decoding import ImageFacts, decode_with_facts, read_content
from ftcli.errors import ImageError, one_line

__all__ = [
    "BadImage",
    "ImageFacts",
    "OnImage",
    "Survey",
    "attempt_all",
    "bad_image",
    "hash_images",
    "hash_twins",
    "identical",
    "survey_images",
]

_T = TypeVar("_T")

SKIP_THEM = "Or set data.on_bad_image: skip."
"""The other way to deal with bad images, where there is a recipe to change."""

_SLICE = 4096

OnImage = Callable[[int, int], None]
"""Takes how many images are done, and of how many."""


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used, why, and what to do about it; a run directory does not keep the advice."""

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
        """Raise one ImageError that names every bad image; `otherwise` is further advice."""
        if not self.bad:
            return
        advice = " ".join(filter(None, dict.fromkeys([*(each.advice for each in self.bad), otherwise])))
        if len(self.bad) == 1:
            raise ImageError(self.bad[0].reason, where=self.bad[0].path, hint=advice)
        lines = [f"{len(self.bad):,} images cannot be used:"]
        lines += [f"  {one_line(each.path)}: {each.reason}" for each in self.bad]
        raise ImageError("\n".join(lines), hint=advice)


def survey_images(samples: Sequence[Sample], *, workers: int, on_image: OnImage | None = None) -> Survey:
    """Read and decode every image once."""
    results = attempt_all(_inspect, samples, workers=workers, on_image=on_image)
    return Survey(
        tuple(result for result in results if isinstance(result, ImageFacts)),
        tuple(bad_image(result) for result in results if isinstance(result, ImageError)),
    )


def _inspect(sample: Sample) -> ImageFacts:
    content = read_content(sample.path, name=sample.name)
    # At the smallest scale: every byte of a JPEG is still read, so that a truncated file is noticed.
    _, facts = decode_with_facts(content, minimum_side=1, name=sample.name)
    return facts


def hash_images(samples: Sequence[Sample], *, workers: int) -> tuple[str | None, ...]:
    """Return the sha256 of every file's bytes (hex), None for a file that cannot be read."""
    results = attempt_all(_hash, samples, workers=workers)
    return tuple(None if isinstance(result, ImageError) else result for result in results)


def hash_twins(samples: Sequence[Sample], *, workers: int) -> dict[str, str]:
    """Return the sha256 (hex) by name of the files that have the size of another one: others have no copy."""
    sizes: dict[int, list[Sample]] = {}
    for sample in samples:
        with suppress(OSError):  # whoever reads the image reports it
            sizes.setdefault(sample.path.stat().st_size, []).append(sample)
    twins = [sample for of_size in sizes.values() if len(of_size) > 1 for sample in of_size]
    hashes = zip(twins, hash_images(twins, workers=workers), strict=True)
    return {sample.name: sha256 for sample, sha256 in hashes if sha256 is not None}


def identical(sha256_of: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes by name of the images that have a copy."""
    images = Counter(sha256_of.values())
    return {name: sha256 for name, sha256 in sha256_of.items() if images[sha256] > 1}


def _hash(sample: Sample) -> str:
    return hashlib.sha256(read_content(sample.path, name=sample.name)).hexdigest()


def attempt_all(
    action: Callable[[Sample], _T], samples: Sequence[Sample], *, workers: int, on_image: OnImage | None = None
) -> list[_T | ImageError]:
    """Apply an action to all samples, in order; an ImageError that it raises is returned in place of its result.

    On threads: Pillow and hashlib release the interpreter lock.
    """

    def attempt(sample: Sample) -> _T | ImageError:
        try:
            return action(sample)
        except ImageError as error:
            return error

    results: list[_T | ImageError] = []
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        # The pool holds 2 KB for each image that it was given: a million at once would be 2 GB.
        for start in range(0, len(samples), _SLICE):
            for result in pool.map(attempt, samples[start : start + _SLICE]):
                results.append(result)
                if on_image is not None:
                    on_image(len(results), len(samples))
    return results


def bad_image(error: ImageError) -> BadImage:
    """Return the image that an error names, with its reason."""
    assert error.where is not None, "errors of one image name it"
    return BadImage(error.where, error.message, error.hint or "")
