"""Owns the look at every image before training: hashes, sizes, and one list of all that are broken."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ftcli.data.class_folders import Sample
from ftcli.data.decoding import decode_with_facts, read_content
from ftcli.errors import ImageError

_LISTED = 10

_T = TypeVar("_T")


@dataclass(frozen=True)
class ImageFacts:
    """What one file holds: sha256 of its bytes (hex), upright size in pixels, mode and format."""

    name: str
    sha256: str
    width: int
    height: int
    mode: str
    format: str


def inspect_images(samples: Sequence[Sample], *, workers: int) -> tuple[ImageFacts, ...]:
    """Read and decode every image once; raise one ImageError that lists all that cannot be decoded."""
    return _on_all(_inspect, samples, workers=workers)


def hash_images(samples: Sequence[Sample], *, workers: int) -> tuple[str, ...]:
    """Return the sha256 of every file's bytes (hex); raise one ImageError for all that cannot be read."""
    return _on_all(_hash, samples, workers=workers)


def _inspect(sample: Sample) -> ImageFacts:
    content = read_content(sample.path, name=sample.name)
    # The smallest scale: every byte of a JPEG is still read, so that a file cut short is noticed.
    decoded = decode_with_facts(content, minimum_side=1, name=sample.name)
    digest = hashlib.sha256(content).hexdigest()
    return ImageFacts(sample.name, digest, decoded.width, decoded.height, decoded.mode, decoded.format)


def _hash(sample: Sample) -> str:
    return hashlib.sha256(read_content(sample.path, name=sample.name)).hexdigest()


def _on_all(action: Callable[[Sample], _T], samples: Sequence[Sample], *, workers: int) -> tuple[_T, ...]:
    """Apply an action to all samples, in order, on threads: Pillow and hashlib release the interpreter lock."""

    def attempt(sample: Sample) -> _T | ImageError:
        try:
            return action(sample)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        results = list(pool.map(attempt, samples))
    failures = [result for result in results if isinstance(result, ImageError)]
    if failures:
        raise _all_failures(failures)
    return tuple(result for result in results if not isinstance(result, ImageError))


def _all_failures(failures: Sequence[ImageError]) -> ImageError:
    if len(failures) == 1:
        return failures[0]
    lines = [f"{len(failures)} images cannot be used:"]
    lines += [f"  {failure.where}: {failure.message}" for failure in failures[:_LISTED]]
    if len(failures) > _LISTED:
        lines.append(f"  and {len(failures) - _LISTED} more")
    return ImageError("\n".join(lines), hint="Replace the files by good copies, or remove them.")
