"""Sorts the steps of a network's forward to the two sides of the cut, and makes a graph of each side."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import Tensor, fx, nn

from ftcli.model.network import Network
from ftcli.model.prefix.trace import groups_at

_INERT = (
    "torch.nn.modules.activation",
    "torch.nn.modules.flatten",
    "torch.nn.modules.padding",
    "torch.nn.modules.pooling",
    "timm.layers.activations",
    "timm.layers.adaptive_avgmax_pool",
    "torchvision.ops.misc",
)
"""Modules without parameters that do the same in every mode are defined here; `_is_inert_type` has two exceptions."""

_RANDOM = frozenset(
    {"bernoulli", "multinomial", "normal", "poisson", "rand", "randn", "randint", "randperm", "uniform"}
    | {"rand_like", "randn_like", "randint_like"}
)


class Split:
    """The nodes of a traced forward, sorted: live ones depend on something trainable, the others are frozen.

    `values` are what the nodes yield for some images. model/prefix/cut.py has a worked example.
    """

    def __init__(
        self, network: Network, lr: Mapping[str, float | None], graph: fx.Graph, values: Mapping[fx.Node, Any]
    ) -> None:
        self._nodes = list(graph.nodes)
        self._values = values
        self._live: set[fx.Node] = set()
        self._of_images: set[fx.Node] = set()
        for node in self._nodes:
            inputs = node.all_input_nodes
            if node.op == "output" or not self._live.isdisjoint(inputs) or _moves(node, network, lr):
                self._live.add(node)
            if node.op == "placeholder" or not self._of_images.isdisjoint(inputs):
                self._of_images.add(node)

    @cached_property
    def crossing(self) -> list[fx.Node]:
        """The tensors that the suffix reads from the prefix, in order."""
        needed = {node for user in self._in_suffix() for node in user.all_input_nodes}
        return [node for node in self._nodes if node in needed and self._crosses_if_needed(node)]

    @property
    def overwrites_frozen(self) -> bool:
        """Whether the traced forward writes something live into a frozen tensor."""
        return any(_writes(node) and node.all_input_nodes[0] not in self._live for node in self._live)

    def prefix(self) -> fx.Graph:
        """Return the graph from the images to the tuple of what crosses."""
        graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        for node in self._nodes:
            if node not in self._live:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(tuple(copies[node] for node in self.crossing))
        return graph

    def suffix(self) -> fx.Graph:
        """Return the graph from what crosses, one argument each, to the logits."""
        graph = fx.Graph()
        copies = {node: graph.placeholder(f"feature_{number}") for number, node in enumerate(self.crossing)}
        for node in self._in_suffix():
            copies[node] = graph.node_copy(node, copies.__getitem__)
        return graph

    def _in_suffix(self) -> list[fx.Node]:
        """Return the live nodes, and frozen ones to repeat for them: weights, shapes, and what comes of these."""
        kept: set[fx.Node] = set()
        for node in reversed(self._nodes):
            if node in self._live or (not self._crosses_if_needed(node) and not kept.isdisjoint(node.users)):
                kept.add(node)
        return [node for node in self._nodes if node in kept]

    def _crosses_if_needed(self, node: fx.Node) -> bool:
        return node not in self._live and node in self._of_images and isinstance(self._values[node], Tensor)


def _moves(node: fx.Node, network: Network, lr: Mapping[str, float | None]) -> bool:
    """Return whether a node is trainable or random by itself."""
    if node.op not in {"get_attr", "call_module"}:
        return _is_random(node)
    path = str(node.target)
    owners = [group.name for group in network.groups if path in {*group.parameters, *group.buffers}]
    if not any(lr[name] is not None for name in owners or groups_at(network, path)):
        return False
    return node.op == "get_attr" or not _is_inert(network.module.get_submodule(path))


def _is_inert(module: nn.Module) -> bool:
    """Return whether a module has no parameters and is the same pure function in every mode."""
    if [*module.parameters(), *module.buffers()]:
        return False
    return all(_is_inert_type(type(part)) for part in module.modules())


def _is_inert_type(kind: type[nn.Module]) -> bool:
    listed = kind.__module__.startswith(_INERT) or kind in {nn.Identity, nn.Sequential}
    return listed and kind not in {nn.RReLU, nn.FractionalMaxPool2d}


def _is_random(node: fx.Node) -> bool:
    """Return whether a function draws random numbers even when all modules are in eval mode."""
    name = str(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")).rstrip("_")
    if "dropout" not in name:
        return name in _RANDOM
    # (input, p, training): of the functions, only F.dropout trains by default.
    training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", name == "dropout")
    return training is True


def _writes(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target is operator.setitem or node.kwargs.get("inplace") is True
    return node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).startswith("__")
