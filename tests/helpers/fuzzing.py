"""Fuzz tests: a few fixed cases in `make test`, many new ones in `make stress`."""

import os
import random
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

from ftcli.errors import FtcliError

T = TypeVar("T")
STRESS = os.environ.get("FTCLI_FUZZ") == "stress"


def cases(*, quick: int, stress: int) -> settings:
    """Return the settings of a test; in `make stress` a failure prints how to reproduce it."""
    return settings(
        max_examples=stress if STRESS else quick,
        derandomize=not STRESS,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def attempt(action: Callable[[], T]) -> T | FtcliError:
    """Return the result of an action, or the FtcliError that it raises; any other exception fails the test."""
    try:
        return action()
    except FtcliError as error:
        return error


def damaged(content: bytes, seed: int) -> bytes:
    """Return content with one to four edits: bits flipped, parts cut, repeated or swapped, foreign bytes inserted."""
    changed, draw = bytearray(content), random.Random(seed)  # noqa: S311 - no secret
    for _ in range(draw.randint(1, 4)):
        draw.choice(_EDITS)(changed, draw)
    return bytes(changed)


def _place(content: bytearray, draw: random.Random) -> int:
    # Headers are short and come first, so half of the edits go there.
    return draw.randrange(max(min(len(content), 200) if draw.random() < 0.5 else len(content), 1))


def _flip(content: bytearray, draw: random.Random) -> None:
    if content:
        content[_place(content, draw)] ^= 1 << draw.randrange(8)


def _cut(content: bytearray, draw: random.Random) -> None:
    del content[_place(content, draw) :]


def _drop(content: bytearray, draw: random.Random) -> None:
    start = _place(content, draw)
    del content[start : start + draw.randint(1, 40)]


def _repeat(content: bytearray, draw: random.Random) -> None:
    start = _place(content, draw)
    content[start:start] = content[start : start + draw.randint(1, 200)]


def _swap(content: bytearray, draw: random.Random) -> None:
    lines = content.split(b"\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    content[:] = b"\n".join(lines)


def _insert(content: bytearray, draw: random.Random) -> None:
    start = _place(content, draw)
    content[start:start] = draw.choice(_FOREIGN)


_FOREIGN = (
    b"\0", b"\xff", b"\n", b",", b'"', b"{", b"[" * 5000, b"NaN", b"-1", b"1e999", b"\xef\xbb\xbf", b"\r", b"null",
    b"9" * 500, "\u2028".encode(), b"\xed\xb3\xbf",
)  # fmt: skip
_EDITS: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _flip, _cut, _drop, _repeat, _swap, _insert)
