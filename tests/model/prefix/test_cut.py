"""The cut: prefix and suffix together are the network, in every mode, for outputs and gradients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
import torch
from helpers.small_networks import small_networks
from torch import Tensor, nn
from torch.nn import functional as F

from ftcli.model.freezing import apply_phase, evaluating, fingerprint
from ftcli.model.network import Network, build_network, outline_network
from ftcli.model.prefix.cut import Cut, NotCut, cut_network, deviation

CLASSES = ("ants", "bees", "wasps")
EVERY_BOUNDARY = "FTCLI_EVERY_BOUNDARY" in os.environ
"""Set it to cut every network at every boundary, which takes minutes."""

SIZES = {
    "resnet18": 64,
    "resnet50": 64,
    "vgg16": 32,
    "vgg16_bn": 32,
    "alexnet": 64,
    "densenet121": 32,
    "squeezenet1_1": 64,
    "mobilenet_v3_large": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 32,
    "regnet_y_400mf": 64,
    "vit_b_16": 32,
    "swin_t": 32,
    "inception_v3": 80,
    "googlenet": 64,
    "timm/resnet18": 64,
    "timm/tf_efficientnet_lite0": 64,
    "timm/vit_tiny_patch16_224": 32,
    "timm/convnext_atto": 64,
    "timm/mobilenetv3_small_100": 64,
}


@pytest.fixture(scope="module", params=SIZES)
def network(request: pytest.FixtureRequest) -> Network:
    with small_networks():
        network = build_network(request.param, "none", classes=CLASSES, seed=0, image_size=SIZES[request.param])
    with torch.no_grad():  # random weights leave all images alike after many layers: give BatchNorm real statistics
        calibrate(network)
    return network


def calibrate(network: Network) -> None:
    apply_phase(network, dict.fromkeys((group.name for group in network.groups), 0.1))
    for seed in range(2):
        network.module(images_for(network, 4, seed=seed))


def images_for(network: Network, count: int, *, seed: int = 0) -> Tensor:
    size = network.spec.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def frozen_below(network: Network, boundary: int) -> dict[str, float | None]:
    return {group.name: None if n < boundary else 0.1 for n, group in enumerate(network.groups)}


def boundaries(network: Network) -> list[int]:
    last = len(network.groups) - 1
    return list(range(1, last + 1)) if EVERY_BOUNDARY else sorted({1, (last + 1) // 2, last})


def cut(network: Network, lr: Mapping[str, float | None]) -> Cut:
    made = cut_network(network, lr)
    assert isinstance(made, Cut), made
    return made


def step(network: Network, forward: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return logits, gradients and BatchNorm statistics of a training step that leaves no trace."""
    before = {name: buffer.clone() for name, buffer in network.module.named_buffers()}
    network.module.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    logits = forward(images_for(network, 3))
    F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    seen = {"logits": logits.detach()}
    for name, parameter in network.module.named_parameters():
        if parameter.grad is not None:
            seen[f"gradient of {name}"] = parameter.grad
    for name, buffer in network.module.named_buffers():
        seen[f"buffer {name}"] = buffer.clone()
        buffer.copy_(before[name])
    return seen


def assert_equal_steps(network: Network, lr: Mapping[str, float | None]) -> None:
    made = cut(network, lr)
    apply_phase(network, lr)
    modes = [module.training for module in network.module.modules()]
    frozen = [group.name for group in network.groups if lr[group.name] is None]
    prints = fingerprint(network, frozen)
    whole = step(network, network.module)
    halves = step(network, lambda images: made.suffix(made.prefix(images)))
    assert halves.keys() == whole.keys()
    for key, expected in whole.items():
        if not torch.equal(halves[key], expected):
            assert deviation(halves[key], expected) < 1e-4, key
    trained = [name for group in network.groups if lr[group.name] is not None for name in group.parameters]
    assert {key.removeprefix("gradient of ") for key in whole if key.startswith("gradient")} == set(trained)
    assert fingerprint(network, frozen) == prints
    assert [module.training for module in network.module.modules()] == modes


def test_a_training_step_of_the_suffix_is_one_of_the_network(network):
    for boundary in boundaries(network):
        assert_equal_steps(network, frozen_below(network, boundary))


def test_a_group_frozen_behind_a_trainable_one_stays_in_the_suffix(network):
    names = [group.name for group in network.groups]
    middle = len(names) // 2
    lr = {name: 0.1 if n in {middle, len(names) - 1} else None for n, name in enumerate(names)}
    assert_equal_steps(network, lr)


def test_the_cut_checks_itself_and_takes_every_batch_size(network):
    made = cut(network, frozen_below(network, len(network.groups) // 2))
    for count in (1, 2, 5):
        assert made.check(images_for(network, count)) is None
    features = made.prefix(images_for(network, 5))
    assert tuple(feature.shape for feature in features) == tuple((5, *shape) for shape in made.row_shapes)
    assert not any(feature.requires_grad for feature in features)


def test_rows_depend_on_their_own_image_alone(network):
    made = cut(network, frozen_below(network, len(network.groups) - 1))
    images = images_for(network, 3)
    for whole, single in zip(made.prefix(images), made.prefix(images[1:2]), strict=True):
        assert deviation(single, whole[1:2]) < 1e-4


def test_a_head_alone_is_trained_on_vectors(network):
    made = cut(network, frozen_below(network, len(network.groups) - 1))
    (shape,) = made.row_shapes
    convolutional = isinstance(network.module.get_submodule(network.heads[0]), nn.Conv2d)
    assert len(shape) == (3 if convolutional else 1)


def test_the_prefix_reads_exactly_the_tensors_of_frozen_groups(network):
    boundary = len(network.groups) // 2
    made = cut(network, frozen_below(network, boundary))
    frozen = network.groups[:boundary]
    assert set(made.reads) == {name for group in frozen for name in (*group.parameters, *group.buffers)}


def test_prefixes_are_described_alike_whatever_the_head_and_the_weights():
    def described(boundary: int, **changes: object) -> str:
        network = outline_network("resnet18", **({"classes": CLASSES, "image_size": 64} | changes))
        return cut(network, frozen_below(network, boundary)).description

    assert described(3) == described(3, classes=("a", "b"))
    assert " at 0x" not in described(3)
    assert len({described(boundary) for boundary in range(1, 6)}) == 5
    assert described(3) != described(3, image_size=96)


def test_a_deeper_cut_moves_fewer_values():
    network = outline_network("resnet18", classes=CLASSES)
    sizes = [cut(network, frozen_below(network, n)).row_shapes for n in (2, 3, 4, 5)]
    assert sizes == [((64, 56, 56),), ((128, 28, 28),), ((256, 14, 14),), ((512,),)]
    assert all(a > b for a, b in pairwise(torch.Size(s[0]).numel() for s in sizes))


def test_cutting_leaves_the_network_as_it_was():
    network = build_network("timm/tf_efficientnet_lite0", "none", classes=CLASSES, seed=0, image_size=64)
    lr = frozen_below(network, 3)
    apply_phase(network, lr)
    modes = [(module.training, module.__class__) for module in network.module.modules()]
    tensors = {name: (id(t), t.requires_grad) for name, t in network.module.state_dict(keep_vars=True).items()}
    made = cut(network, lr)
    made.check(images_for(network, 2))
    assert [(module.training, module.__class__) for module in network.module.modules()] == modes
    assert {n: (id(t), t.requires_grad) for n, t in network.module.state_dict(keep_vars=True).items()} == tensors


@small_networks()
def test_the_suffix_follows_the_live_weights_and_modes():
    network = build_network("alexnet", "none", classes=CLASSES, seed=0, image_size=64)
    lr = frozen_below(network, len(network.groups) - 3)
    made = cut(network, lr)
    features = made.prefix(images_for(network, 2))
    apply_phase(network, lr)
    assert not torch.equal(made.suffix(features), made.suffix(features))
    with evaluating(network):
        before = made.suffix(features)
        assert torch.equal(before, made.suffix(features))
        network.module.get_parameter(f"{network.heads[0]}.bias").add_(1)
        torch.testing.assert_close(made.suffix(features), before + 1)


def test_nothing_is_cut_where_nothing_useful_is_frozen():
    network = outline_network("googlenet", classes=CLASSES, image_size=64)
    assert cut_network(network, frozen_below(network, 0)) == NotCut("every group trains")
    later = {group.name: 0.1 if n == 0 else None for n, group in enumerate(network.groups)}
    assert cut_network(network, later) == NotCut("the first layers train")
