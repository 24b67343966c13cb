"""The fast forward: the features of the plain prefix, in less time, from a copy."""

from __future__ import annotations

import pytest
import torch
from helpers.small_networks import small_networks
from torch import Tensor, fx, nn

from ftcli.model.freezing import apply_phase
from ftcli.model.network import Network, build_network
from ftcli.model.prefix import fast
from ftcli.model.prefix.cut import Cut, cut_network, deviation
from ftcli.model.prefix.fast import FastPrefix, fast_prefix, fold_batchnorms, to_channels_last

SIZES = {
    "resnet18": 64,
    "vgg16_bn": 32,
    "densenet121": 32,
    "mobilenet_v3_large": 64,
    "regnet_y_400mf": 64,
    "vit_b_16": 32,
    "swin_t": 32,
    "googlenet": 64,
    "efficientnet_lite0": 64,
    "timm/convnext_atto": 64,
    "timm/mobilenetv3_small_100": 64,
}
UNFOLDABLE = {"densenet121"}
"""Here most norms come before the convolutions."""


def built(name: str) -> Network:
    weights = "default" if name == "efficientnet_lite0" else "none"
    with small_networks():
        network = build_network(name, weights, classes=["ants", "bees"], seed=0, image_size=SIZES[name])
    if weights == "none":
        apply_phase(network, dict.fromkeys((group.name for group in network.groups), 0.1))
        with torch.no_grad():
            network.module(images_for(network, 4))
    return network


def images_for(network: Network, count: int) -> Tensor:
    size = network.spec.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def cut_at(network: Network, boundary: int) -> Cut:
    made = cut_network(network, {g.name: None if n < boundary else 0.1 for n, g in enumerate(network.groups)})
    assert isinstance(made, Cut)
    return made


def norms(fast: FastPrefix) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in fast.quick.modules())


@pytest.mark.parametrize("name", SIZES)
def test_fast_features_equal_the_plain_ones(name):
    network = built(name)
    for boundary in (len(network.groups) // 2, len(network.groups) - 1):
        cut = cut_at(network, boundary)
        fast = fast_prefix(cut)
        assert name in UNFOLDABLE or norms(fast) == 0
        for count in (5, 1):
            images = images_for(network, count)
            for some, expected in zip(fast(images), cut.prefix(images), strict=True):
                assert some.shape == expected.shape
                assert deviation(some, expected) < 1e-4
        assert fast.fallback is None


def test_the_network_is_not_touched():
    network = built("timm/mobilenetv3_small_100")
    apply_phase(network, {g.name: None if n < 4 else 0.1 for n, g in enumerate(network.groups)})
    before = {name: (id(tensor), tensor.stride()) for name, tensor in network.module.state_dict(keep_vars=True).items()}
    modules = {name: (id(module), module.training) for name, module in network.module.named_modules()}
    values = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    fast_prefix(cut_at(network, 4))(images_for(network, 2))
    after = network.module.state_dict(keep_vars=True)
    assert {name: (id(tensor), tensor.stride()) for name, tensor in after.items()} == before
    assert {name: (id(module), module.training) for name, module in network.module.named_modules()} == modules
    assert all(torch.equal(after[name], value) for name, value in values.items())


def test_a_suffix_can_be_trained_on_fast_features():
    network = built("resnet18")
    cut = cut_at(network, 4)
    cut.suffix(fast_prefix(cut)(images_for(network, 2))).sum().backward()
    assert network.module.get_parameter("layer4.0.conv1.weight").grad is not None


def test_a_deviating_copy_is_replaced_by_the_plain_prefix():
    network = built("resnet18")
    cut = cut_at(network, 3)
    fast = fast_prefix(cut)
    with torch.no_grad():
        next(fast.quick.parameters()).mul_(1.01)
    images = images_for(network, 2)
    assert torch.equal(fast(images)[0], cut.prefix(images.contiguous(memory_format=torch.channels_last))[0])
    assert fast.fallback is not None
    assert "deviates" in fast.fallback


def test_a_failing_copy_is_replaced_by_the_plain_prefix():
    network = built("resnet18")
    cut = cut_at(network, 3)
    fast = FastPrefix(cut, nn.Linear(2, 2))
    assert len(fast(images_for(network, 2))) == 1
    assert fast.fallback is not None
    assert "fails" in fast.fallback


class Shared(nn.Module):
    """Uses what lies between a convolution and its BatchNorm, or a module, twice."""

    def __init__(self, *, twice: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self._twice = twice

    def forward(self, images: Tensor) -> Tensor:
        between = self.conv(images)
        normed = self.norm(between)
        if self._twice == "between":
            return between + normed
        return normed + self.norm(self.conv(normed)) if self._twice == "modules" else normed


@pytest.mark.parametrize(("twice", "left"), [("nothing", 0), ("between", 1), ("modules", 1)])
def test_only_what_nothing_else_uses_is_folded(twice, left):
    torch.manual_seed(0)
    module = Shared(twice=twice)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        module(images)
        expected = module.eval()(images)
        folded = fold_batchnorms(module)
        assert deviation(folded(images), expected) < 1e-5
    calls = {node.target for node in folded.graph.nodes} if isinstance(folded, fx.GraphModule) else set()
    assert sum(isinstance(folded.get_submodule(str(t)), nn.BatchNorm2d) for t in calls if t == "norm") == left


class Branching(nn.Module):
    """Cannot be traced, but its block can."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        return self.block(images) if images.sum() > 0 else -self.block(images)


def test_only_weights_of_two_dimensional_convolutions_are_laid_out_channels_last():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(1, 2, 3), nn.Linear(2, 2))
    to_channels_last(module)
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert module[1].weight.is_contiguous()


def test_what_cannot_be_copied_is_computed_by_the_plain_prefix(monkeypatch):
    def fail(*_: object, **__: object) -> nn.Module:
        raise TypeError("cannot be copied")

    network = built("resnet18")
    made = cut_network(network, {group.name: 0.1 if group.name == "head" else None for group in network.groups})
    assert isinstance(made, Cut)
    monkeypatch.setattr(fast, "fold_batchnorms", fail)
    prefix = fast_prefix(made)
    features = prefix(images_for(network, 2))
    assert prefix.fallback is not None
    assert deviation(features[0], made.prefix(images_for(network, 2))[0]) < 1e-5


def test_what_cannot_be_traced_is_folded_piece_by_piece():
    module = Branching().eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = module(images)
        folded = fold_batchnorms(module)
        assert deviation(folded(images), expected) < 1e-5
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
