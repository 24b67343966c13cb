"""What a phase learns from: the same batches and logits whether features are stored or computed."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ftcli.data.loader import Batch, Images
from ftcli.engine.device import Compute
from ftcli.engine.extraction import DataSettings, FeatureBatch
from ftcli.engine.phase_data import AnyBatch, DataOpener, PhaseData
from ftcli.model.freezing import evaluating
from ftcli.model.network import Network, build_network
from ftcli.model.prefix.cut import Cut, NotCut
from ftcli.plan import Phase

CPU = Compute(torch.device("cpu"), "fp32")
SETTINGS = DataSettings(batch_size=4, augment="standard", views=2, cache="auto", workers=0, seed=0)
Open = Callable[[DataSettings], DataOpener]


@pytest.fixture
def network() -> Network:
    return build_network("efficientnet_lite0", "default", classes=("a", "b"), seed=0, image_size=32)


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def opener(network: Network, notices: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "cache"))
    paths = tuple(tmp_path / f"{number}.png" for number in range(9))
    for number, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    sha256s = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    images = Images(paths, sha256s, labels=torch.arange(9) % 2, clusters=sha256s)

    def make(settings: DataSettings) -> DataOpener:
        given = {"train": images, "val": images}
        return DataOpener(network, given, settings, CPU, notice=notices.append, on_rows=lambda _done, _total: None)

    return make


def phase_of(network: Network, *, frozen: bool = True) -> Phase:
    return Phase("p", 2, {g.name: None if frozen and g.name != "head" else 0.1 for g in network.groups})


def batches_and_logits(network: Network, data: PhaseData) -> tuple[list[AnyBatch], torch.Tensor]:
    with evaluating(network):
        of_train, of_val = list(data.train_batches(1)), list(data.val_batches())
        logits = [data.forward(batch) for batch in of_train] + [data.val_forward(batch) for batch in of_val]
    return of_train, torch.cat(logits)


def test_stored_and_computed_features_give_the_same_order_and_the_same_bits(network: Network, opener: Open) -> None:
    results = []
    for cache in ("auto", "off"):
        with opener(replace(SETTINGS, cache=cache)) as opened:
            data = opened.open(phase_of(network), epochs=range(1, 3), must_cut=True)
            assert data.cached == (cache == "auto")
            assert isinstance(data.cut, Cut)
            batches, logits = batches_and_logits(network, data)
            results.append(([batch.indices.tolist() for batch in batches], logits))
            assert {type(batch) for batch in batches} == {FeatureBatch}
    (order, logits), (same_order, same_logits) = results
    assert order == same_order
    assert sorted(index for batch in order for index in batch) == list(range(9))
    assert torch.equal(logits, same_logits)


@pytest.mark.parametrize(
    ("settings", "frozen"), [(replace(SETTINGS, cache="off"), True), (SETTINGS, False)], ids=["off", "all train"]
)
def test_without_a_cut_images_pass_the_whole_network(
    network: Network, opener: Open, settings: DataSettings, *, frozen: bool
) -> None:
    with opener(settings) as opened:
        data = opened.open(phase_of(network, frozen=frozen), epochs=range(1, 3), must_cut=False)
        batches, logits = batches_and_logits(network, data)
    assert isinstance(data.cut, NotCut)
    assert not data.cached
    assert {type(batch) for batch in batches} == {Batch}
    assert logits.shape == (18, 2)


def test_fresh_views_are_computed_in_every_epoch_and_val_is_stored(network: Network, opener: Open) -> None:
    with opener(replace(SETTINGS, views="fresh")) as opened:
        data = opened.open(phase_of(network), epochs=range(1, 3), must_cut=False)
        assert not data.cached
        assert {type(batch) for batch in data.val_batches()} == {FeatureBatch}
        assert {type(batch) for batch in data.train_batches(1)} == {FeatureBatch}


def test_a_cache_that_cannot_be_used_is_one_notice_and_training_continues(
    network: Network, opener: Open, notices: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("in the way")
    with opener(SETTINGS) as opened:
        data = opened.open(phase_of(network), epochs=range(1, 3), must_cut=False)
        assert not data.cached
        assert batches_and_logits(network, data)[1].shape == (18, 2)
    assert len(notices) == 1


def test_all_phases_and_both_splits_share_one_pool_of_workers(network: Network, opener: Open) -> None:
    before = {process.pid for process in multiprocessing.active_children()}
    seen: set[int | None] = set()
    with opener(replace(SETTINGS, workers=2)) as opened:
        for frozen in (True, False):
            data = opened.open(phase_of(network, frozen=frozen), epochs=range(1, 3), must_cut=False)
            batches_and_logits(network, data)
            seen |= {process.pid for process in multiprocessing.active_children()} - before
    assert len(seen) == 2


def test_seeds_share_their_views_unless_asked(network: Network, opener: Open) -> None:
    logits = []
    for seed, shared in ((0, True), (1, True), (0, False), (1, False), (1, False)):
        with opener(replace(SETTINGS, seed=seed, share_views=shared)) as opened:
            data = opened.open(phase_of(network), epochs=range(1, 2), must_cut=False)
            with evaluating(network):
                rows = [(batch.indices, data.forward(batch)) for batch in data.train_batches(1)]
            by_index = {int(i): row for indices, of_batch in rows for i, row in zip(indices, of_batch, strict=True)}
            logits.append(torch.stack([by_index[index] for index in range(9)]))
    first, second, of_first, of_second, again = logits
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(of_second, again)
    for one, other in ((first, of_first), (of_first, of_second)):
        assert (one - other).abs().max() > 1e-3
