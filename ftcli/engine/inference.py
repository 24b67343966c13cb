"""Scoring: every image once, in order, in eval mode, without gradients, labelled or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.data.decoding import ImageFacts, decode_with_facts, read_content
from ftcli.data.loader import Images, Loader
from ftcli.data.transforms import evaluation_transform, normalise
from ftcli.data.workers import available_cores, default_workers
from ftcli.engine.device import Compute
from ftcli.errors import CheckpointError, ImageError, ModelError
from ftcli.model.formats import FORMATS
from ftcli.model.freezing import evaluating
from ftcli.model.network import Network
from ftcli.phrases import first_line
from ftcli.records import InputSpec

BatchT = TypeVar("BatchT")
_Decoded = tuple[ImageFacts, Tensor] | ImageError

_BATCHES_AHEAD = 3
"""Batches that are decoded while one is scored."""


Score = Callable[[Iterable[Tensor]], Iterator[NDArray[np.float64]]]
"""Takes batches of uint8 images (n, 3, S, S), and yields the probabilities (n, classes) of each."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores images with a network or an exported file, after its own preprocessing."""

    classes: tuple[str, ...]
    spec: InputSpec
    score: Score
    batch_size: int

    def scores(self, images: Images) -> Generator[tuple[int, NDArray[np.float64]]]:
        """Yield the index and the probabilities (classes,) of each image, in order.

        Raises ImageError as `Loader.batches` does. Close the iterator to stop its workers early.
        """
        transform, workers = evaluation_transform(self.spec), default_workers(len(images))
        with Loader(images, transform=transform, batch_size=self.batch_size, workers=workers) as loader:
            batches = self.score(batch.images for batch in loader.in_order())
            yield from enumerate(row for rows in batches for row in rows)

    def label(self, files: Iterable[tuple[Path, str]]) -> Iterator[tuple[ImageFacts, NDArray[np.float64]] | ImageError]:
        """Yield the facts and the probabilities (classes,) of each file, a path and its name, in order.

        A file that cannot be used gives its ImageError in its place. Each file is read once, by threads that are a few
        batches ahead, so that memory does not grow with the number of files. Raises ModelError as `probabilities` does.
        """
        decoded: deque[list[_Decoded]] = deque()  # the batches that were read and not yet yielded

        def batches() -> Iterator[Tensor]:
            for batch in self._decode(files):
                decoded.append(batch)
                pixels = [each[1] for each in batch if not isinstance(each, ImageError)]
                if pixels:
                    yield torch.stack(pixels)

        def finished(
            rows: Iterator[NDArray[np.float64]],
        ) -> Iterator[tuple[ImageFacts, NDArray[np.float64]] | ImageError]:
            while decoded:
                for each in decoded.popleft():
                    yield each if isinstance(each, ImageError) else (each[0], next(rows))

        for rows in self.score(batches()):
            _check_finite(rows)
            yield from finished(iter(rows))
        yield from finished(iter(()))  # batches without any image

    def _decode(self, files: Iterable[tuple[Path, str]]) -> Iterator[list[_Decoded]]:
        """Yield batches of decoded files, in order."""
        transform = evaluation_transform(self.spec)

        def decoded(file: tuple[Path, str]) -> _Decoded:
            path, name = file
            try:
                content = read_content(path, name=name)
                image, facts = decode_with_facts(content, minimum_side=transform.minimum_side, name=name)
            except ImageError as error:
                return error
            return facts, transform(image)

        waiting: deque[list[Future[_Decoded]]] = deque()
        remaining = iter(files)
        with ThreadPoolExecutor(available_cores()) as pool:
            try:
                while True:
                    while len(waiting) < _BATCHES_AHEAD and (batch := list(islice(remaining, self.batch_size))):
                        waiting.append([pool.submit(decoded, file) for file in batch])
                    if not waiting:
                        return
                    yield [future.result() for future in waiting.popleft()]
            finally:
                pool.shutdown(cancel_futures=True)

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """Return the probabilities (N, classes) of images.

        Raises ImageError, and ModelError for a network whose weights give no finite numbers.
        """
        with closing(self.scores(images)) as scores:
            probabilities = np.stack([row for _, row in scores])
        _check_finite(probabilities)
        return probabilities


def network_scorer(network: Network, compute: Compute, *, batch_size: int) -> Scorer:
    """Return a scorer for a network, which is on the device of `compute`."""

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = network.module(to_input(images, network, compute))
        return logits

    def score(batches: Iterable[Tensor]) -> Iterator[NDArray[np.float64]]:
        return score_batches(network, batches, forward)

    return Scorer(network.classes, network.spec, score, batch_size)


def exported_scorer(file: Path, form: str, classes: tuple[str, ...], spec: InputSpec, *, batch_size: int) -> Scorer:
    """Return a scorer for a file of `ftcli export`, run by its own runtime on the CPU.

    Raises CheckpointError for a file that the runtime refuses.
    """
    from ftcli.engine import exported

    try:
        run = getattr(exported, FORMATS[form].run)(file, spec)
    except Exception as error:  # each runtime has errors of its own
        message = f"{FORMATS[form].runtime} cannot load it: {first_line(error)}"
        raise CheckpointError(message, where=str(file), hint="Export the run again.") from error

    def score(batches: Iterable[Tensor]) -> Iterator[NDArray[np.float64]]:
        for batch in batches:
            wide = run(batch).astype(np.float64)
            yield wide / wide.sum(axis=1, keepdims=True)

    return Scorer(classes, spec, score, batch_size)


def _check_finite(probabilities: NDArray[np.float64]) -> None:
    """Raise ModelError for probabilities (N, C) that are no numbers."""
    wrong = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if wrong:
        raise ModelError(
            f"the network gives no finite probabilities for {wrong} of {len(probabilities)} images",
            hint="Use another checkpoint: these weights are damaged, or come from a training that diverged.",
        )


@torch.inference_mode()  # as a decorator, torch leaves the mode whenever the generator yields
def score_batches(
    network: Network, batches: Iterable[BatchT], forward: Callable[[BatchT], Tensor]
) -> Iterator[NDArray[np.float64]]:
    """Yield the probabilities (n, classes) of each batch; `forward` makes logits of it, on the device.

    The network is in eval mode until the last batch. It computes in float32 whatever it was trained in, so that `train`
    and `eval` agree. The softmax is taken on the device; float64 begins on the CPU, since Apple's GPUs have none.
    """
    with evaluating(network):
        for batch in batches:
            logits = forward(batch)
            wide = logits.float().softmax(dim=1).cpu().to(torch.float64).numpy()
            yield wide / wide.sum(axis=1, keepdims=True)


def to_input(images: Tensor, network: Network, compute: Compute) -> Tensor:
    """Return the network's input for uint8 images (N, 3, S, S): on the device, normalised, channels-last."""
    return normalise(compute.copy(images), network.spec).contiguous(memory_format=torch.channels_last)
