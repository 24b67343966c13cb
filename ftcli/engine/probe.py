"""Owns fitting the head to convergence on the features that reach it: a linear probe of the frozen network.

Owns fitting a head to convergence, at the L2 strength that does best on held-out parts of train.

The field's linear probe (Kornblith et al. 2019, arXiv:1805.08974): L-BFGS along a logarithmic grid of strengths, each
fit starting from the one before it. Theirs are compared on a validation split, ours by cross-validation.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ftcli.engine.inference import score_batches
from ftcli.engine.logistic import (
    MAX_ITERATIONS,
    Linear,
    Precise,
    Scaled,
    make_model,
    one_blas_thread,
)
from ftcli.engine.loop import Epoch, Start, Training
from ftcli.engine.sources import CutLogits, PhaseSource
from ftcli.errors import DatasetError, ModelError, NonFiniteLossError, RunError, UsageError
from ftcli.evaluation.resampling import quick_metrics
from ftcli.model.freezing import apply_phase, evaluating, fingerprint
from ftcli.model.network import Network
from ftcli.model.prefix.cut import TOLERANCE, Cut, cut_network, deviation
from ftcli.plan import Phase
from ftcli.records import EpochRecord, ProbeRecord, StrengthTrial
from ftcli.rng import stable_seed

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


_TRIED_ROWS = 4


def run_probe(
    network: Network, phase: Phase, source: PhaseSource, *, start: Start, training: Training
) -> Iterator[Epoch]:
    """Fit the head to all views of the training images at once, and yield the one epoch that this is.

    Raises NonFiniteLossError where features are NaN or infinite.
    """
    started = time.perf_counter()
    frozen = fingerprint(network, phase.frozen)
    apply_phase(network, phase.lr)
    assert isinstance(source.logits_of, CutLogits), "the network was cut"
    head = find_head(source.logits_of.cut)
    examples = _gather(source, source.logits_of, phase)
    linear, probe = fit_head(
        examples,
        biased=head.bias is not None,
        seed=training.seed,
        on_fit=lambda done, fits: _tell(training, start.first_epoch, done, fits),
    )
    _write(head, linear.weights, linear.bias)
    assert fingerprint(network, phase.frozen) == frozen, f"frozen groups moved in phase {phase.name}"
    train = _train_figures(head, examples)
    labels, probabilities = score_batches(network, source.validation(), source.val_logits, training.compute)
    val = quick_metrics(labels, probabilities)
    if not math.isfinite(val["loss"]):
        raise _non_finite(phase, "val")
    record = EpochRecord(
        phase=phase.name,
        phase_index=start.index,
        epoch=start.first_epoch,
        lr=phase.lr,
        train_loss=train["loss"],
        train_accuracy=train["accuracy"],
        val=val,
        seconds=time.perf_counter() - started,
        cached=source.cached,
        probe=probe,
    )
    yield Epoch(record, labels, probabilities)


def check_probe(network: Network, phase: Phase, *, rows: int) -> Cut:
    """Return the cut of a phase that fits the head; nothing is computed.

    `rows` is the number of training images times that of their views. Raises ModelError where the head is no linear
    layer on features, and UsageError where they take more memory than there is.
    """
    cut = cut_network(network, phase.lr)
    if not isinstance(cut, Cut):
        raise cannot_probe(network, cut.reason)
    needed = rows * find_head(cut).weight[0].numel() * BYTES_PER_FEATURE
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    if memory is not None and needed > memory:
        raise UsageError(
            f"lbfgs takes {needed / 2**30:.1f} GiB for {rows} views at once, and the machine has {memory / 2**30:.1f}",
            where="data.views",
            hint="Lower data.views, or set strategy.solver to sgd.",
        )
    return cut


def find_head(cut: Cut) -> nn.Linear | nn.Conv2d:
    """Return the head, having tried that the logits are its weights times the features that cross, plus its bias.

    Raises ModelError where they are not.
    """
    network = cut.network
    head = network.module.get_submodule(network.head)
    assert isinstance(head, nn.Linear | nn.Conv2d), "heads are made so"
    inputs = head.weight[0].numel()
    if len(cut.row_shapes) != 1 or math.prod(cut.row_shapes[0]) != inputs:
        shapes = " and ".join(" x ".join(map(str, shape)) for shape in cut.row_shapes)
        raise cannot_probe(network, f"what reaches it is {shapes} numbers of each image, not a row of {inputs}")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_TRIED_ROWS, *cut.row_shapes[0], generator=generator).to(head.weight.device)
    with evaluating(network):
        logits = cut.suffix((rows,))
        expected = nn.functional.linear(rows.flatten(1), head.weight.flatten(1), head.bias)
    if logits.shape != expected.shape or not deviation(logits, expected) <= TOLERANCE:
        raise cannot_probe(network, "the network changes what the head makes of its features")
    return head


def cannot_probe(network: Network, reason: str) -> ModelError:
    """Return the error that says why the head of a network cannot be fitted."""
    return ModelError(
        f"strategy.solver: lbfgs cannot fit the head of this network: {reason}",
        where=network.name,
        hint="Set strategy.solver to sgd, or choose another model.",
    )


def _gather(source: PhaseSource, logits: CutLogits, phase: Phase) -> Examples:
    """Return the features of every view of every training image, in the order of the images."""
    images = len(source.together)
    (shape,) = logits.cut.row_shapes
    features = np.empty((images, source.views, math.prod(shape)), dtype=np.float32)
    labels = np.empty(images, dtype=np.int64)
    for view in range(source.views):
        for batch in source.training(view):
            indices = batch.indices.numpy()
            with torch.no_grad(), logits.compute.autocast():
                (rows,) = logits.features(batch)
            features[indices, view] = rows.flatten(1).float().cpu().numpy()
            labels[indices] = batch.labels.numpy()
    if not np.isfinite(features).all():
        raise _non_finite(phase, "train")
    return Examples(features, labels, np.unique(source.together, return_inverse=True)[1])


def _write(head: nn.Linear | nn.Conv2d, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights).reshape(head.weight.shape))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(bias))


def _train_figures(head: nn.Linear | nn.Conv2d, examples: Examples) -> dict[str, float]:
    """Return loss and accuracy of the head over all views, with the weights as they were rounded into it."""
    weights, bias = (None if tensor is None else tensor.detach().cpu() for tensor in (head.weight, head.bias))
    assert weights is not None
    rows = torch.from_numpy(examples.features).flatten(0, 1)
    logits: Tensor = nn.functional.linear(rows, weights.flatten(1), bias)
    return quick_metrics(examples.labels.repeat(examples.features.shape[1]), logits.double().softmax(dim=1).numpy())


def _tell(training: Training, epoch: int, done: int, fits: int) -> None:
    if training.on_batch is not None:
        training.on_batch(epoch, done, fits)


def _non_finite(phase: Phase, split: str) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"the features of {split} are NaN or infinite in phase {phase.name!r}",
        hint="Look at model.weights: the frozen part makes them from the images alone.",
    )


STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(2, -13, -1))
"""The L2 strengths, the strongest first: 10 to 1e-6, two to a decade."""

ENOUGH_WORSE = 3
"""The weaker strengths, which take longest, are left out once so many in a row were worse than the best."""

FOLDS = 5

SEARCH_TOLERANCE = 1e-4
FIT_TOLERANCE = 1e-8
CONVERGED = 1e-5
"""The largest slope at which a fit ends, in the search and at last, and at which the last one counts as converged.

The search is in float32, too: all in all a third of the time, for held-out losses that are the same to three digits.
"""

BYTES_PER_FEATURE = 16
"""The memory that the last fit takes: all features, a copy of them, and one in float64."""

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The images to fit to and those held out."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Features (N, views, D) of images, labels (N,), and contents (N,): equal for copies of an image, or in a group."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    contents: NDArray[np.int64]

    def rows(self, images: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the views of some images as rows (n * views, D), with their labels: a copy."""
        chosen = self.features[images]
        return chosen.reshape(-1, chosen.shape[-1]), self.labels[images].repeat(chosen.shape[1])


def fit_head(
    examples: Examples, *, biased: bool, seed: int, on_fit: Callable[[int, int], None]
) -> tuple[Linear, ProbeRecord]:
    """Return the linear classifier of the examples at the strength that cross-validation prefers.

    The folds depend on the seed, and the solution on nothing else: the problem is convex. `biased` says whether the
    head has a bias; `on_fit` hears of (fits done, fits to do at most). Raises DatasetError where there are too few
    images to hold any out.
    """
    folds = make_folds(examples, seed=seed)
    fits = _Fits(len(STRENGTHS) * len(folds) + 1, on_fit)
    with one_blas_thread():
        trials = _search(examples, folds, biased=biased, heard=fits.heard)
        # The first, and so the strongest, of the best.
        strength = min(trials, key=lambda trial: trial.log_loss).strength
        linear, iterations, slope = _converged(examples, strength, biased=biased)
    fits.all_heard()
    return linear, ProbeRecord(strength, len(folds), tuple(trials), iterations, slope)


def make_folds(examples: Examples, *, seed: int) -> list[Fold]:
    """Split the images into stratified folds which keep the copies of one image, or the images of a group, together.

    There are FOLDS, or as many as the largest class has different images. A fold is left out where the other images
    have a single class, or none of its own. Raises DatasetError where none is left.
    """
    from sklearn.model_selection import StratifiedKFold

    # Not StratifiedGroupKFold, which takes half a millisecond for each group.
    _, first, content_of = np.unique(examples.contents, return_index=True, return_inverse=True)
    labels = examples.labels
    count = min(FOLDS, int(np.bincount(labels[first]).max()))
    usable: list[Fold] = []
    if count > 1:
        splitter = StratifiedKFold(count, shuffle=True, random_state=stable_seed("folds", seed) % 2**32)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of classes with fewer images than folds
            splits = list(splitter.split(first, labels[first]))
        for _, held_contents in splits:
            held = np.isin(content_of, held_contents)
            fold = np.flatnonzero(~held), np.flatnonzero(held)
            if len(np.unique(labels[fold[0]])) > 1 and len(_known(labels, fold)):
                usable.append(fold)
    if not usable:
        raise DatasetError(
            f"{len(labels)} training images are too few to hold any out, which is how lbfgs picks its L2 strength",
            hint="Add images, or set strategy.solver to sgd.",
        )
    return usable


def _search(examples: Examples, folds: list[Fold], *, biased: bool, heard: Callable[[], None]) -> list[StrengthTrial]:
    """Return the mean log loss of held-out images at one strength after another, from the strongest."""
    models = [make_model(SEARCH_TOLERANCE, biased=biased) for _ in folds]
    trials: list[StrengthTrial] = []
    for strength in STRENGTHS:
        likelihoods = []
        for model, fold in zip(models, folds, strict=True):
            likelihoods.append(_held_out(examples, fold, model, strength))
            heard()
        trials.append(StrengthTrial(strength, float(-np.concatenate(likelihoods).mean())))
        losses = [trial.log_loss for trial in trials]
        if len(losses) - losses.index(min(losses)) > ENOUGH_WORSE:
            break
    return trials


def _converged(examples: Examples, strength: float, *, biased: bool) -> tuple[Linear, int, float]:
    """Return the classifier of all examples at one strength, with the iterations it took and the slope that is left."""
    rows, labels = examples.rows(np.arange(len(examples.labels)))
    scaled = Scaled.of(rows.astype(np.float64), labels, biased=biased)
    model = make_model(FIT_TOLERANCE, biased=biased)
    solution = scaled.fit(model, strength)
    slope = scaled.slope(solution, strength)
    if not slope <= CONVERGED:
        raise RunError(
            f"L-BFGS did not converge in {MAX_ITERATIONS} iterations: a slope of {slope:.1e} is left",
            hint="Set strategy.solver to sgd.",
        )
    return scaled.for_features(solution), int(model.n_iter_[0]), slope


def _held_out(examples: Examples, fold: Fold, model: LogisticRegression, strength: float) -> Precise:
    """Return the log likelihood of every view of the held-out images whose class was fitted to."""
    # A class without an image in this part has no logit in it.
    classes = np.unique(examples.labels[fold[0]])
    rows, labels = examples.rows(fold[0])
    scaled = Scaled.of(rows, np.searchsorted(classes, labels), biased=model.fit_intercept)
    linear = scaled.for_features(scaled.fit(model, strength))
    rows, labels = examples.rows(_known(examples.labels, fold))
    return linear.log_likelihood(rows, np.searchsorted(classes, labels))


def _known(labels: NDArray[np.int64], fold: Fold) -> NDArray[np.int64]:
    """Return those of the held-out images whose class is among the others."""
    fit, held = fold
    known: NDArray[np.int64] = held[np.isin(labels[held], labels[fit])]
    return known


class _Fits:
    """Counts fits for whoever hears of them."""

    def __init__(self, at_most: int, on_fit: Callable[[int, int], None]) -> None:
        self._done, self._at_most, self._on_fit = 0, at_most, on_fit

    def heard(self) -> None:
        """Say that one more is done."""
        self._done += 1
        self._on_fit(self._done, self._at_most)

    def all_heard(self) -> None:
        """Say that the rest is not needed."""
        self._on_fit(self._at_most, self._at_most)
