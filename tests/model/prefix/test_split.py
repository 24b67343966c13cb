"""Splitting: odd forwards are split rightly, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftcli.model.freezing import apply_phase, evaluating
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
        self.fails = False
        self._between = between

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None
        features = self._between(self, self.body(images).mean((2, 3)))
        return self.tail.fc(self.tail.scale(features))


def odd_network(between: Callable[[Odd, Tensor], Tensor]) -> Network:
    torch.manual_seed(0)
    module = Odd(between)
    spec = replace(outline_network("resnet18", classes=CLASSES).spec, image_size=8)
    return Network("odd", module, spec, CLASSES, ("tail.fc",))


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
        (lambda _, x: x + torch.ones(int(x.shape[0]), 1), "cannot be traced"),
        (lambda module, x: F.dropout(x, 0.5, training=module.training), "equal"),
        (lambda module, x: F.dropout(x, 0.5, training=module.tail.training), "equal"),
        (lambda module, x: x * 2 if module.tail.training else x, "train mode"),
        (lambda module, x: x * 2 if module.tail.training and module.fails else x, "equal"),
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


class Sized(nn.Module):
    """Halves a map; returns it as rows, and its height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int], None]:
        x = self.layer(images)
        return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3]), None


class Rows(nn.Module):
    """Takes rows, the size of their map and a table; `together` passes the first two as one tuple."""

    def __init__(self, *, together: bool) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3)
        self.together = together

    def forward(self, x: Tensor | tuple[Tensor, tuple[int, int], None], *others: Tensor | tuple[int, int]) -> Tensor:
        rows, size, nothing = x if self.together else (x, others[0], None)
        assert nothing is None
        grid = (rows + others[-1]).transpose(1, 2).reshape(len(rows), 4, *size)
        return self.layer(grid).mean((2, 3))


class TwoValued(nn.Module):
    """Passes a size across the cut, and a table made from a buffer that is not saved, for the size of the map."""

    def __init__(self, *, together: bool) -> None:
        super().__init__()
        self.stem = Sized()
        self.block = Rows(together=together)
        self.fc = nn.Linear(4, 3)
        self.register_buffer("periods", torch.arange(1.0, 5.0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        count = images.shape[0]
        out = self.stem(images)
        rows, (height, width) = out[0], out[1]
        table = torch.arange(height * width)[:, None] / self.periods[None, :]
        x = self.block(out, table) if self.block.together else self.block(rows, (height, width), table)
        return self.fc(x.reshape(count, -1))


@pytest.mark.parametrize("together", [False, True])
def test_sizes_tables_and_tuples_do_not_keep_the_frozen_part_in_the_suffix(together) -> None:
    torch.manual_seed(0)
    module = TwoValued(together=together)
    spec = replace(outline_network("resnet18", classes=CLASSES).spec, image_size=8)
    network = Network("sized", module, spec, CLASSES, ("fc",))
    made = cut_network(network, {group.name: None if group.name == "stem" else 0.1 for group in network.groups})
    assert isinstance(made, Cut), made
    assert made.row_shapes == ((16, 4),)
    assert made.check(images(3)) is None
    assert not any(name.startswith("stem") for name, _ in made.live.named_parameters())


def test_the_values_of_constants_are_part_of_the_description() -> None:
    def described(factor: float) -> str:
        network = odd_network(lambda module, x: module.tail.scale(x * torch.tensor([factor, 1.0, 1.0, 1.0])))
        made = cut_network(network, {group.name: None if group.name != "head" else 0.1 for group in network.groups})
        assert isinstance(made, Cut), made
        assert made.check(images(2)) is None
        return made.description

    assert described(2.0) == described(2.0)
    assert described(2.0) != described(3.0)


def test_a_part_that_fails_on_images_is_not_cut_and_the_reason_is_complete() -> None:
    network = odd_network(lambda _, x: x)
    made = cut_network(network, body_frozen(network))
    assert isinstance(made, Cut)

    def fail(*_: object) -> None:
        raise RuntimeError

    handle = made.live.register_forward_hook(fail)
    refused = made.check(images(2))
    handle.remove()
    assert isinstance(refused, NotCut)
    assert "RuntimeError" in refused.reason


def test_a_network_that_fails_while_shapes_are_derived_is_not_cut() -> None:
    def needs_values(_: Odd, x: Tensor) -> Tensor:
        return x * torch.nonzero(x)[0, 0]

    assert reason(odd_network(needs_values)).startswith("odd cannot be cut: ")


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
