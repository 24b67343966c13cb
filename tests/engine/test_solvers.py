from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from ftcli.data.loader import Images
from ftcli.engine.device import Compute
from ftcli.engine.extraction import DataSettings
from ftcli.engine.loop import ARITHMETIC, Start, TrainSettings
from ftcli.engine.phase_data import DataOpener
from ftcli.engine.solvers import SOLVERS, epochs_shown, run_phase
from ftcli.model.network import build_network
from ftcli.plan import Phase
from ftcli.recipe.keys import Cosine, FeatureExtract, Sgd

RECORDED = Path(__file__).with_name("arithmetic.json")

PHASE = Phase("head", 4, {"stem": None, "head": 0.1})


def test_every_solver_of_the_recipe_and_of_a_phase_has_its_row() -> None:
    assert set(SOLVERS) == set(get_args(get_type_hints(Phase)["solver"]))
    assert set(SOLVERS) == set(get_args(FeatureExtract.model_fields["solver"].annotation))


def test_sgd_shows_one_view_per_epoch_and_lbfgs_all_of_them() -> None:
    assert epochs_shown(PHASE, first_epoch=3, views=8) == range(3, 7)
    assert epochs_shown(replace(PHASE, epochs=1, solver="lbfgs"), first_epoch=3, views=8) == range(8)


def changes(images: Images, *, solver: str) -> Iterator[tuple[str, float]]:
    """Yield one number for each tensor that a short training changes: its change along a fixed direction."""
    compute = Compute(torch.device("cpu"), "fp32")
    network = build_network("timm/test_efficientnet", "none", classes=("a", "b"), seed=0, image_size=32)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    settings = TrainSettings(
        optimizer=Sgd(kind="sgd", weight_decay=0.1),  # Adam would turn the smallest gradients into whole steps
        schedule=Cosine(kind="cosine"),
        compute=compute,
        seed=0,
        label_smoothing=0.1,
        clip_grad_norm=1.0,
    )
    last = {"head", network.groups[-2].name}
    head = {group.name: 1e-2 if group.name == "head" else None for group in network.groups}
    if solver == "lbfgs":
        phases = [Phase("fit", 1, head, solver="lbfgs")]
    else:
        phases = [
            Phase("head", 2, head),
            Phase("thawed", 1, {group.name: 1e-2 if group.name in last else None for group in network.groups}),
            Phase("all", 1, {group.name: 1e-2 for group in network.groups}),
        ]
    data = DataSettings(batch_size=4, augment="standard", views=2, cache="auto", workers=0, seed=0)
    given = {"train": images, "val": images}
    with DataOpener(network, given, data, compute, notice=pytest.fail, on_rows=lambda _done, _total: None) as opener:
        first = 1
        for index, phase in enumerate(phases):
            first += len(list(run_phase(network, phase, opener, start=Start(index, first), settings=settings)))
    for name, tensor in network.module.state_dict().items():
        change = (tensor - before[name]).double().flatten()
        if tensor.is_floating_point() and change.any():
            yield name, float(change @ torch.arange(len(change)).double().cos())


def test_trained_weights_are_those_of_this_arithmetic(tiny: Path) -> None:
    # `resume` trains on with runs of the same ARITHMETIC. Where this fails after a change of ftcli's code: raise
    # ARITHMETIC, unless it was raised since the last release; then record (FTCLI_RECORD=1 pytest THIS_FILE). After an
    # update of a library: only record. A resume warns of other versions.
    paths = tuple(sorted((tiny / "train").rglob("*.png")))
    labels = torch.tensor([path.parent.name == "red" for path in paths]).long()
    sha256s = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    images = Images(paths, sha256s, labels, clusters=sha256s)
    now = {"arithmetic": ARITHMETIC, **{solver: dict(changes(images, solver=solver)) for solver in SOLVERS}}
    if os.environ.get("FTCLI_RECORD"):
        RECORDED.write_text(json.dumps(now, indent=1) + "\n")
    recorded = json.loads(RECORDED.read_text())
    assert now["arithmetic"] == recorded["arithmetic"], "record the weights of the new arithmetic"
    for solver in SOLVERS:
        largest = max(map(abs, recorded[solver].values()))
        assert now[solver] == pytest.approx(recorded[solver], rel=0, abs=1e-4 * largest)
