"""Freezing: nothing in a frozen group changes, whatever the optimizer does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers.small_networks import small_networks
from torch import nn
from torch.nn import functional as F

from ftcli.model.freezing import (
    apply_phase,
    evaluating,
    fingerprint,
    has_batchnorm,
    standing_still,
)
from ftcli.model.network import Network, build_network

CLASSES = ("ants", "bees")


def built(name: str, image_size: int) -> Network:
    with small_networks():
        return build_network(name, "none", classes=CLASSES, seed=0, image_size=image_size)


def rates(network: Network, *trainable: str) -> dict[str, float | None]:
    return {group.name: 0.05 if group.name in trainable else None for group in network.groups}


def train(network: Network, lr: dict[str, float | None], steps: int = 3) -> None:
    apply_phase(network, lr)
    optimizer = torch.optim.SGD(network.module.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        images = torch.randn(4, 3, network.spec.image_size, network.spec.image_size, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(network.module(images), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "image_size", "trainable"),
    [
        ("resnet18", 64, ("head",)),
        ("resnet18", 64, ("layer4", "head")),
        ("resnet18", 64, ("stem", "head")),
        ("mobilenet_v3_small", 64, ("classifier.0", "head")),
        ("efficientnet_lite0", 64, ("blocks.6", "conv_head", "head")),
        ("alexnet", 64, ("classifier.4", "head")),
        ("densenet121", 32, ("features.denseblock4", "head")),
        ("squeezenet1_1", 64, ("features.12", "head")),
        ("timm/test_vit", 160, ("stem", "head")),
        ("timm/repvit_m0_9", 32, ("head",)),
        ("timm/efficientvim_m1", 64, ("stages.2", "head")),
    ],
)
def test_frozen_groups_are_bitwise_unchanged_and_the_others_move(name, image_size, trainable):
    network = built(name, image_size)
    names = [group.name for group in network.groups]
    assert set(trainable) <= set(names)
    before = {key: tensor.clone() for key, tensor in network.module.state_dict().items()}
    prints = fingerprint(network, names)
    train(network, rates(network, *trainable))
    after = network.module.state_dict()
    for group in network.groups:
        same = [torch.equal(before[key], after[key]) for key in (*group.parameters, *group.buffers) if key in before]
        assert all(same) == (group.name not in trainable), group.name
    assert {n for n, value in fingerprint(network, names).items() if value != prints[n]} == set(trainable)


def test_batchnorm_statistics_of_trainable_groups_move():
    network = built("resnet18", 64)
    before = network.module.get_buffer("layer4.0.bn1.running_mean").clone()
    train(network, rates(network, "layer4", "head"))
    assert not torch.equal(before, network.module.get_buffer("layer4.0.bn1.running_mean"))


def test_frozen_groups_are_in_eval_mode_and_trainable_ones_train():
    network = built("efficientnet_b0", 64)
    apply_phase(network, rates(network, "features.7", "head"))
    for group in network.groups:
        modes = {m.training for path in group.modules for m in network.module.get_submodule(path).modules()}
        assert modes == {group.name in {"features.7", "head"}}, group.name


@pytest.mark.parametrize("name", ["googlenet", "vit_b_16"])
def test_containers_around_the_groups_train_only_if_everything_inside_does(name):
    network = built(name, 224)
    names = [group.name for group in network.groups]
    grouped = {id(network.module.get_submodule(path)) for group in network.groups for path in group.modules}
    apply_phase(network, rates(network, *names[1:]))
    assert not network.module.training
    apply_phase(network, rates(network, *names))
    assert all(module.training for module in network.module.modules())
    apply_phase(network, rates(network, "head"))
    assert id(network.module) not in grouped
    assert not network.module.training


def test_the_forward_of_frozen_dropout_is_deterministic():
    network = built("alexnet", 64)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    apply_phase(network, rates(network, "head"))
    assert torch.equal(network.module(images), network.module(images))
    apply_phase(network, rates(network, "classifier.1", "classifier.4", "head"))
    assert not torch.equal(network.module(images), network.module(images))


def test_a_later_phase_thaws_what_an_earlier_one_froze():
    network = built("resnet18", 64)
    apply_phase(network, rates(network, "head"))
    apply_phase(network, rates(network, *(group.name for group in network.groups)))
    assert all(parameter.requires_grad for parameter in network.module.parameters())
    assert all(module.training for module in network.module.modules())


def test_evaluating_restores_every_mode_and_needs_no_gradient():
    network = built("resnet18", 64)
    apply_phase(network, rates(network, "layer4", "head"))
    before = [module.training for module in network.module.modules()]
    with evaluating(network) as module:
        assert not any(part.training for part in module.modules())
        assert not module(torch.zeros(1, 3, 64, 64)).requires_grad
    assert [module.training for module in network.module.modules()] == before
    assert torch.is_grad_enabled()


def test_evaluating_restores_every_mode_after_an_error():
    network = built("resnet18", 64)
    apply_phase(network, rates(network, *(group.name for group in network.groups)))
    with pytest.raises(RuntimeError), evaluating(network):
        raise RuntimeError
    assert all(module.training for module in network.module.modules())


def test_groups_with_batchnorm_are_found():
    network = built("resnet18", 64)
    found = {group.name: has_batchnorm(network, group) for group in network.groups}
    assert found == {"stem": True, **{f"layer{number}": True for number in (1, 2, 3, 4)}, "head": False}


def test_batchnorm_in_eval_mode_keeps_the_dropout_after_it_in_train_mode():
    network = built("timm/resnet26t", 64)
    drop, norm = nn.Dropout(0.5), network.module.get_submodule("layer4.1.bn1")
    norm.drop = drop  # timm's BatchNormAct2d holds what follows it
    apply_phase(network, rates(network, "layer4", "head"), batchnorm="eval")
    layers = [layer for layer in network.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not any(layer.training for layer in layers)
    assert drop.training
    assert norm.weight.requires_grad
    apply_phase(network, rates(network, "layer4", "head"))
    assert norm.training


def test_batchnorm_in_eval_mode_keeps_its_statistics_while_its_weights_train():
    network = built("resnet18", 64)
    apply_phase(network, rates(network, "layer4", "head"), batchnorm="eval")
    before = fingerprint(network, ["layer4"]), dict(network.module.named_buffers())
    buffers = {name: buffer.clone() for name, buffer in before[1].items()}
    optimizer = torch.optim.SGD([p for p in network.module.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(network.module(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 0, 1])).backward()
    weight = network.module.get_parameter("layer4.1.bn2.weight").clone()
    optimizer.step()
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in network.module.named_buffers())
    assert not torch.equal(network.module.get_parameter("layer4.1.bn2.weight"), weight)


def test_a_fingerprint_sees_one_changed_bit_of_a_buffer():
    network = built("resnet18", 64)
    before = fingerprint(network, ["layer1", "layer2"])
    network.module.get_buffer("layer2.0.bn1.num_batches_tracked").add_(1)
    after = fingerprint(network, ["layer1", "layer2"])
    assert list(before) == ["layer1", "layer2"]
    assert before["layer1"] == after["layer1"]
    assert before["layer2"] != after["layer2"]


def test_a_fingerprint_reads_every_kind_of_tensor():
    network = built("resnet18", 64)
    network.module.to(torch.bfloat16)
    network.module.get_submodule("layer1").to(memory_format=torch.channels_last)
    assert isinstance(network.module, nn.Module)
    assert len(set(fingerprint(network, [group.name for group in network.groups]).values())) == 6


def test_a_frozen_group_that_moves_is_noticed_also_when_a_generator_is_left_early() -> None:
    network = built("mobilenet_v3_small", 32)

    def training() -> Iterator[int]:
        with standing_still(network, ["features.0"]):
            for step in range(9):
                with torch.no_grad():
                    network.module.get_parameter("features.0.0.weight").add_(step)
                yield step

    for left_early in (True, False):
        steps = training()
        assert next(steps) == 0
        if left_early:
            steps.close()  # nothing has moved yet
        else:
            next(steps)
            with pytest.raises(AssertionError, match="frozen groups moved"):
                steps.close()
