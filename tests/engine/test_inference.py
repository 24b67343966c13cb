"""Scoring images, labelled or not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ftcli.data.decoding import decode
from ftcli.data.loader import Images
from ftcli.data.transforms import evaluation_transform
from ftcli.engine.device import Compute
from ftcli.engine.inference import network_scorer, score_batches, to_input
from ftcli.errors import ImageError, ModelError
from ftcli.model.network import Network, build_network

CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture
def network() -> Network:
    return build_network("mobilenet_v3_small", "none", classes=("a", "b", "c"), seed=0, image_size=32)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Write five images without any label."""
    paths = tuple(tmp_path / f"{number}.png" for number in range(5))
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return Images(paths, tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths))


def test_every_unlabelled_image_is_scored_once_in_order(network: Network, images: Images) -> None:
    scores = list(network_scorer(network, CPU, batch_size=2).scores(images))
    assert [index for index, _ in scores] == [0, 1, 2, 3, 4]
    transform = evaluation_transform(network.spec)
    pixels = torch.stack([transform(decode(path)) for path in images.paths])
    with torch.no_grad():
        expected = network.module.eval()(to_input(pixels, network, CPU)).softmax(dim=1)
    np.testing.assert_allclose(np.stack([row for _, row in scores]), expected.numpy(), atol=1e-6)
    assert all(row.sum() == pytest.approx(1, abs=1e-12) for _, row in scores)


def test_all_probabilities_come_as_one_array(network: Network, images: Images) -> None:
    scorer = network_scorer(network, CPU, batch_size=3)
    np.testing.assert_array_equal(scorer.probabilities(images), np.stack([row for _, row in scorer.scores(images)]))


@pytest.mark.parametrize("scored", [2, 5], ids=["left early", "to the end"])
def test_gradients_are_on_between_images_and_train_mode_returns(network: Network, images: Images, scored: int) -> None:
    network.module.train()
    scores = network_scorer(network, CPU, batch_size=2).scores(images)
    for _ in range(scored):
        next(scores)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    scores.close()
    assert torch.is_grad_enabled()
    assert all(module.training for module in network.module.modules())


def test_an_image_that_was_changed_is_an_error_with_its_path(network: Network, images: Images) -> None:
    images.paths[3].write_bytes(images.paths[0].read_bytes())
    with pytest.raises(ImageError) as caught:
        network_scorer(network, CPU, batch_size=2).probabilities(images)
    assert caught.value.where == str(images.paths[3])


def test_probabilities_that_are_not_finite_are_an_error_with_their_number(network: Network, images: Images) -> None:
    with torch.no_grad():
        network.module.get_submodule(network.heads[0]).bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="5 of 5"):
        network_scorer(network, CPU, batch_size=2).probabilities(images)


def test_batches_of_any_kind_can_be_scored(network: Network) -> None:
    logits = [torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 50.0]])]
    first, second = score_batches(network, logits, lambda batch: batch)
    np.testing.assert_allclose(first, np.full((2, 3), 1 / 3))
    np.testing.assert_allclose(second, [[0, 0, 1]], atol=1e-12)
