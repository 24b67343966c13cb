"""Splitting: odd forwards are split rightly, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftcli.model.freezing import apply_phase, evaluating
from ftcli.model.groups import group_network
from ftcli.model.network import Network, outline_network
from ftcli.model.prefix.cut import Cut, NotCut, cut_network

CLASSES = ("ants", "bees", "wasps")


class Odd(nn.Module):
    """A network of two layers around one piece of code in its own forward."""

    def __init__(self, between: Callable[[Odd, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
        self.tail = nn.Module()
        self.tail.scale = nn.Linear(4, 4)
        self.tail.fc = nn.Linear(4, 3)
        self._between = between

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None
        features = self._between(self, self.body(images).mean((2, 3)))
        return self.tail.fc(self.tail.scale(features))


def odd_network(between: Callable[[Odd, Tensor], Tensor]) -> Network:
    torch.manual_seed(0)
    module = Odd(between)
    spec = replace(outline_network("resnet18", classes=CLASSES).spec, image_size=8)
    return Network("odd", module, group_network(module, "tail.fc"), spec, CLASSES, "tail.fc")


def body_frozen(network: Network) -> dict[str, float | None]:
    return {group.name: None if group.name.startswith(("body", "stem")) else 0.1 for group in network.groups}


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def reason(network: Network) -> str:
    made = cut_network(network, body_frozen(network))
    if isinstance(made, Cut):
        checked = made.check(images(3))
        return checked.reason if checked else "equal"
    return made.reason


def double_when_positive(module: Odd, x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (lambda _, x: x, "equal"),
        (double_when_positive, "depends on the values"),
        (lambda _, x: x.reshape(2, -1) if x.shape[0] == 2 else x.reshape(-1, 4), "depends on the values"),
        (lambda _, x: x + torch.ones(int(x.shape[0]), 1), "cannot run on stand-ins"),
        (lambda module, x: F.dropout(x, 0.5, training=module.training), "equal"),
        (lambda module, x: F.dropout(x, 0.5, training=module.tail.training), "equal"),
        (lambda module, x: x * 2 if module.tail.training else x, "train mode"),
        (lambda module, x: module.tail.scale(x).add_(x.sub_(1)), "deviates"),
        (lambda module, x: x.add_(module.tail.scale(x)), "writes into what crosses"),
        (lambda module, x: module.tail.scale(x.t().contiguous()[:, :].t()), "equal"),
    ],
)
def test_odd_forwards_are_cut_rightly_or_not_at_all(between, expected):
    assert expected in reason(odd_network(between))


def test_functional_dropout_of_a_trainable_part_follows_the_mode():
    network = odd_network(lambda module, x: F.dropout(x, 0.5, training=module.tail.training))
    lr = body_frozen(network)
    made = cut_network(network, lr)
    assert isinstance(made, Cut)
    apply_phase(network, lr)
    features = made.prefix(images(4))
    assert not torch.equal(made.suffix(features), made.suffix(features))
    with evaluating(network):
        assert torch.equal(made.suffix(features), made.suffix(features))


def test_what_crosses_are_the_frozen_tensors_that_live_lines_read():
    network = odd_network(lambda module, x: module.tail.scale(x) * x.shape[1] + torch.relu(x))
    made = cut_network(network, body_frozen(network))
    assert isinstance(made, Cut)
    assert made.row_shapes == ((4,), (4,)), "x and relu(x), as in the worked example of cut.py"
    assert made.check(images(3)) is None


def test_what_has_no_row_for_each_image_does_not_cross():
    network = odd_network(lambda module, x: module.tail.scale(x.sum(0, keepdim=True)) + x)
    assert reason(network) == "a tensor crosses the cut that does not have one row per image"


def test_a_deviating_cut_is_refused():
    network = odd_network(lambda _, x: x)
    lr = body_frozen(network)
    made = cut_network(network, lr)
    assert isinstance(made, Cut)
    handle = made.live.register_forward_hook(lambda *arguments: arguments[-1] * 1.01)
    refused = made.check(images(2))
    handle.remove()
    assert isinstance(refused, NotCut)
    assert "deviates" in refused.reason
