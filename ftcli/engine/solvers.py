"""How a phase is solved: one row for each solver, read before, while and after a phase is opened.

To add a solver: name it in plan.Phase.solver and in the recipe, and add its row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ftcli.engine.logistic import fitting_seconds
from ftcli.engine.loop import Epoch, Start, TrainSettings, train_phase
from ftcli.engine.phase_data import DataOpener
from ftcli.engine.probe import check_probe, fit_phase
from ftcli.model.network import Network
from ftcli.model.prefix.cut import Cut
from ftcli.plan import Phase


@dataclass(frozen=True)
class Timed:
    """What a forecast measures of a cut network: seconds per image to train and to score its features."""

    train_images: int
    val_images: int
    step: float
    score: float


@dataclass(frozen=True)
class Solver:
    """A way to solve a phase.

    `solve` trains it, or what is left of it, and yields its epochs; it is called as `train_phase` is. `needs_cut` asks
    for features even where none are stored, and shows every fixed view at once instead of one per epoch. `check` raises
    FtcliError, before anything is computed, where a phase cannot be solved so with that many views of training images.
    `seconds` estimates the time to solve it once its features are there.
    """

    solve: Callable[..., Iterator[Epoch]]
    needs_cut: bool
    check: Callable[[Network, Phase, int], object]
    seconds: Callable[[Phase, Cut, Timed, int], float]


def _step_seconds(phase: Phase, _cut: Cut, timed: Timed, _views: int) -> float:
    return phase.epochs * (timed.train_images * timed.step + timed.val_images * timed.score)


def _fit_seconds(_phase: Phase, cut: Cut, timed: Timed, views: int) -> float:
    inputs, classes = math.prod(cut.row_shapes[0]), len(cut.network.classes)
    return fitting_seconds(timed.train_images * views, inputs=inputs, classes=classes)


SOLVERS: Mapping[str, Solver] = {
    "sgd": Solver(train_phase, needs_cut=False, check=lambda _network, _phase, _rows: None, seconds=_step_seconds),
    "lbfgs": Solver(fit_phase, needs_cut=True, check=check_probe, seconds=_fit_seconds),
}


def epochs_shown(phase: Phase, *, first_epoch: int, views: int) -> range:
    """Return the epochs whose views a phase learns from."""
    return range(views) if SOLVERS[phase.solver].needs_cut else range(first_epoch, first_epoch + phase.epochs)


def run_phase(
    network: Network, phase: Phase, opener: DataOpener, *, start: Start, settings: TrainSettings
) -> Iterator[Epoch]:
    """Open the data of a phase, computing missing features, and yield each epoch as it ends."""
    solver = SOLVERS[phase.solver]
    epochs = epochs_shown(phase, first_epoch=start.first_epoch, views=opener.settings.different_views)
    started = time.perf_counter()
    data = opener.open(phase, epochs=epochs, must_cut=solver.needs_cut)
    seconds = time.perf_counter() - started
    for epoch in solver.solve(network, phase, data, start=start, settings=settings):
        yield replace(epoch, record=replace(epoch.record, features_seconds=seconds))
        seconds = 0.0
