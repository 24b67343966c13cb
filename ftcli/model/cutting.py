"""Owns the cut: a network as a frozen prefix, a pure function of the images, and a suffix, the live modules after it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ftcli.model.backbones import Network
from ftcli.model.freezing import evaluating
from ftcli.model.tracing import (
    IMAGES,
    UntraceableError,
    groups_at,
    is_training,
    make_twin,
    run_on_meta,
    trace_phase,
)

Features = tuple[Tensor, ...]
"""What crosses the cut; every tensor has one row per image."""

TOLERANCE = 1e-3
"""How far the cut network may be from the whole one, relative to the largest logit; TF32 alone needs this much."""


@dataclass(frozen=True)
class NotCut:
    """Why a network trains uncut, in one sentence without a full stop."""

    reason: str


@dataclass(frozen=True, eq=False)
class Cut:
    """A network cut where its frozen part ends; valid for one phase, since both sides use its live modules.

    `reads` are the parameters and buffers that the prefix depends on, `description` is the same for equal prefixes and
    for no others, and `row_shapes` are the shapes of what crosses, for one image.
    """

    network: Network
    frozen: fx.GraphModule
    live: fx.GraphModule
    reads: tuple[str, ...]
    description: str
    row_shapes: tuple[tuple[int, ...], ...]

    def prefix(self, images: Tensor) -> Features:
        """Return what crosses the cut for normalised images (N, 3, S, S): in eval mode, without gradients."""
        with evaluating(self.network):
            features: Features = self.frozen(images)
        return features

    def suffix(self, features: Features) -> Tensor:
        """Return logits (N, classes); the modules are in the modes, and collect the gradients, that they have."""
        logits: Tensor = self.live(*features)
        return logits

    def check(self, images: Tensor) -> NotCut | None:
        """Compare with the whole network in eval mode, also on the first image alone; None means equal."""
        for batch in (images, images[:1]):
            with evaluating(self.network) as module:
                whole = module(batch)
                features = self.frozen(batch)
                before = [feature.clone() for feature in features]
                logits = self.suffix(features)
            if not all(map(torch.equal, before, features)):
                return NotCut("the trainable part writes into what crosses the cut")
            off = deviation(logits, whole)
            if not off <= TOLERANCE:
                return NotCut(f"the cut network deviates from the whole one by {off:.1e}")
        return None


def cut_network(network: Network, lr: Mapping[str, float | None]) -> Cut | NotCut:
    """Cut the network behind everything that depends on nothing trainable in a phase with these rates.

    The forward is traced and split by data flow; nothing is computed, and the network is left as it is.
    """
    if None not in lr.values():
        return NotCut("every group trains")
    try:
        twin = make_twin(network.module)
        graph = trace_phase(network, twin, lr)
        values, others = (run_on_meta(twin, graph, images=n, image_size=network.spec.image_size) for n in (2, 3))
    except UntraceableError as error:
        return NotCut(f"the forward of {network.name} cannot be traced: {error}")
    split = _Split(network, lr, graph, values)
    crossing = split.crossing
    reason = _obstacle(split, others)
    if reason is not None:
        return NotCut(reason)
    prefix, suffix = split.prefix(crossing), split.suffix(crossing)
    reads = tuple(_tensor_names(network.module, prefix))
    if not reads:
        return NotCut("the first layers train")
    return Cut(
        network=network,
        frozen=fx.GraphModule(network.module, prefix, "Prefix"),
        live=fx.GraphModule(network.module, suffix, "Suffix"),
        reads=reads,
        description=_describe(network, prefix),
        row_shapes=tuple(tuple(values[node].shape[1:]) for node in crossing),
    )


def deviation(values: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference relative to the largest expected absolute value."""
    scale = expected.detach().abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((values.detach() - expected.detach()).abs().max() / scale)


class _Split:
    """Which side of the cut each node of a traced forward is on; `values` are what they yield for two images."""

    def __init__(
        self, network: Network, lr: Mapping[str, float | None], graph: fx.Graph, values: Mapping[fx.Node, Any]
    ) -> None:
        self._nodes = list(graph.nodes)
        self._values = values
        self._moving = _moving_tensors(network, lr)
        self.live: set[fx.Node] = set()
        self._of_images: set[fx.Node] = set()
        for node in self._nodes:
            if node.op == "output" or self._moves(node, network, lr) or not self.live.isdisjoint(node.all_input_nodes):
                self.live.add(node)
            if node.op == "placeholder" or not self._of_images.isdisjoint(node.all_input_nodes):
                self._of_images.add(node)

    @property
    def crossing(self) -> list[fx.Node]:
        """The tensors that the suffix needs from the prefix, in order."""
        needed = {node for user in self._in_suffix() for node in user.all_input_nodes}
        return [node for node in self._nodes if node in needed and self._must_cross(node)]

    @property
    def overwrites_frozen(self) -> bool:
        """Whether something trainable is written into a tensor of the prefix."""
        return any(
            _is_in_place(node) and node.all_input_nodes and node.all_input_nodes[0] not in self.live
            for node in self.live
        )

    def prefix(self, crossing: list[fx.Node]) -> fx.Graph:
        """Return the graph from the images to what crosses."""
        graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        for node in self._nodes:
            if node not in self.live:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(tuple(copies[node] for node in crossing))
        return graph

    def suffix(self, crossing: list[fx.Node]) -> fx.Graph:
        """Return the graph from what crosses to the logits."""
        graph = fx.Graph()
        copies = {node: graph.placeholder(f"feature_{number}") for number, node in enumerate(crossing)}
        for node in self._in_suffix():
            copies[node] = graph.node_copy(node, copies.__getitem__)
        return graph

    def _in_suffix(self) -> list[fx.Node]:
        """Return the live nodes and those that they need again beside what crosses: frozen tensors, shapes."""
        kept: set[fx.Node] = set()
        for node in reversed(self._nodes):
            if node in self.live or (not self._must_cross(node) and not kept.isdisjoint(node.users)):
                kept.add(node)
        return [node for node in self._nodes if node in kept]

    def _must_cross(self, node: fx.Node) -> bool:
        frozen = node not in self.live and node in self._of_images
        return node.op == "placeholder" or (frozen and isinstance(self._values[node], Tensor))

    def _moves(self, node: fx.Node, network: Network, lr: Mapping[str, float | None]) -> bool:
        """Tell whether a node is trainable, in a mode that moves, or random by itself."""
        if node.op == "get_attr":
            named = node.target in self._moving
            return named or (self._is_module(node) and _any_trains(network, lr, str(node.target)))
        if node.op == "call_module":
            path = str(node.target)
            return _any_trains(network, lr, path) and not _is_inert(network.module.get_submodule(path))
        return _is_random(node)

    def _is_module(self, node: fx.Node) -> bool:
        return isinstance(self._values[node], nn.Module)


def _moving_tensors(network: Network, lr: Mapping[str, float | None]) -> set[str]:
    groups = [group for group in network.groups if lr[group.name] is not None]
    return {name for group in groups for name in (*group.parameters, *group.buffers)}


def _any_trains(network: Network, lr: Mapping[str, float | None], path: str) -> bool:
    return any(lr[name] is not None for name in groups_at(network, path))


def _is_inert(module: nn.Module) -> bool:
    """Tell whether a module is the same pure function in every mode: pooling, activation, reshaping."""
    return all(_is_inert_type(type(part)) for part in module.modules()) and not any(module.parameters())


def _is_inert_type(kind: type[nn.Module]) -> bool:
    if kind in {nn.Identity, nn.Sequential}:
        return True
    deterministic = kind.__module__.startswith(_INERT) or kind.__qualname__ == "Permute"
    return deterministic and kind not in {nn.RReLU, nn.FractionalMaxPool2d}


_INERT = (
    "torch.nn.modules.activation",
    "torch.nn.modules.flatten",
    "torch.nn.modules.padding",
    "torch.nn.modules.pooling",
    "timm.layers.activations",
    "timm.layers.adaptive_avgmax_pool",
)


def _is_random(node: fx.Node) -> bool:
    """Tell whether a function draws random numbers whatever the modes are."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name.rstrip("_") in _RANDOM:
        return True
    if "dropout" not in name and name not in {"rrelu", "stochastic_depth"}:
        return False
    position = {F.rrelu: 3, F.dropout: 2}.get(node.target, 2)  # type: ignore[call-overload]
    training = node.kwargs.get("training", node.args[position] if len(node.args) > position else name == "dropout")
    return training is True


_RANDOM = frozenset({"bernoulli", "multinomial", "normal", "poisson", "rand", "randn", "randint", "randperm", "uniform"})
