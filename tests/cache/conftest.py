from __future__ import annotations

import hashlib
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ftcli.cache.collection import Collection
from ftcli.cache.shard import read
from ftcli.cache.store import FeatureStore


def name_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def entry_of(number: int, *, width: int = 16) -> tuple[Tensor, Tensor]:
    """Return the features of a view: two tensors (1, ...), the same in every process."""
    generator = torch.Generator().manual_seed(number)
    return torch.randn(1, 3 * width, generator=generator), torch.randn(1, 6, 3, generator=generator)


class Given:
    """Shared by the tests of the cache; a fixture, since tests are not a package."""

    name_of = staticmethod(name_of)
    entry_of = staticmethod(entry_of)

    @staticmethod
    def names(numbers: Sequence[int]) -> list[str]:
        return [name_of(number) for number in numbers]

    @staticmethod
    def fill(collection: Collection, numbers: Sequence[int], *, shard_bytes: int = 2000, width: int = 16) -> None:
        with collection.writer(shard_bytes=shard_bytes) as writer:
            for number in numbers:
                writer.add([name_of(number)], entry_of(number, width=width))

    @staticmethod
    def check(collection: Collection, numbers: Sequence[int], *, width: int = 16) -> None:
        features = collection.open([name_of(number) for number in numbers])
        rows = features.rows(torch.arange(len(numbers)).numpy())
        for place, number in enumerate(numbers):
            for tensor, expected in zip(rows, entry_of(number, width=width), strict=True):
                assert torch.equal(tensor[place], expected[0])

    @staticmethod
    def stored(collection: Collection) -> int:
        """Return how many entries the files of a collection hold."""
        return sum(len(read(path).keys) for path in collection.path.glob("*.safetensors"))


@pytest.fixture
def given() -> type[Given]:
    return Given


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache")


@pytest.fixture
def fork() -> Callable[[Callable[[], object]], int]:
    """Run something in a child process, which leaves with 0 unless it fails; returns the child's id."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")

    def run(child: Callable[[], object]) -> int:
        process = os.fork()
        if process:
            return process
        try:
            child()
        except BaseException:  # noqa: BLE001  # nothing of the parent's may continue in the child
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    return run
