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


_UNKNOWN = object()


class Split:
    """The nodes of a traced forward, sorted: live ones depend on something trainable, the others are frozen.

    `for_two` and `for_three` are what the nodes yield for two and for three images. model/prefix/cut.py has a worked
    example.
    """

    def __init__(
        self,
        network: Network,
        lr: Mapping[str, float | None],
        graph: fx.Graph,
        for_two: Mapping[fx.Node, Any],
        for_three: Mapping[fx.Node, Any],
    ) -> None:
        self._nodes = list(graph.nodes)
        self._for_two, self._for_three = dict(for_two), dict(for_three)
        self._live: set[fx.Node] = set()
        self._of_images: set[fx.Node] = set()
        self._sizes: set[fx.Node] = set()  # of the maps of images, and what comes of them alone
        for node in self._nodes:
            inputs = node.all_input_nodes
            if node.op == "output" or not self._live.isdisjoint(inputs) or _moves(node, network, lr):
                self._live.add(node)
            if node.op == "placeholder" or not self._of_images.isdisjoint(inputs):
                (self._sizes if self._is_size(node) else self._of_images).add(node)
        for node in self._nodes:
            self._take_apart(node, graph)
        self._nodes = list(graph.nodes)

    @cached_property
    def crossing(self) -> list[fx.Node]:
        """The tensors that the suffix reads from the prefix, in order."""
        needed = {node for user in self._in_suffix() for node in user.all_input_nodes}
        return [node for node in self._nodes if node in needed and self._crosses_if_needed(node)]

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of what crosses, for one image."""
        return tuple(tuple(self._for_two[node].shape[1:]) for node in self.crossing)

    @property
    def has_one_row_per_image(self) -> bool:
        """Whether everything that crosses has one row per image."""
        shapes = [(self._for_two[node].shape[:1], self._for_three[node].shape[:1]) for node in self.crossing]
        return all(shape == ((2,), (3,)) for shape in shapes)

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
        copies: dict[fx.Node, Any] = {node: _plain(self._for_two[node]) for node in self._sizes}
        copies |= {node: graph.placeholder(f"feature_{number}") for number, node in enumerate(self.crossing)}
        if self.crossing:
            images = graph.call_method("size", (copies[self.crossing[0]], 0))
            copies |= dict.fromkeys(filter(self._is_image_count, self._nodes), images)
        for node in self._in_suffix():
            copies[node] = graph.node_copy(node, copies.__getitem__)
        if self.crossing and not images.users:
            graph.erase_node(images)
        return graph

    def _in_suffix(self) -> list[fx.Node]:
        """Return the live nodes, and frozen ones to repeat for them: weights, shapes, and what comes of these."""
        kept: set[fx.Node] = set()
        for node in reversed(self._nodes):
            known = self._crosses_if_needed(node) or node in self._sizes or self._is_image_count(node)
            if node in self._live or (not known and not kept.isdisjoint(node.users)):
                kept.add(node)
        return [node for node in self._nodes if node in kept]

    def _crosses_if_needed(self, node: fx.Node) -> bool:
        return self._is_frozen_of_images(node) and isinstance(self._for_two[node], Tensor)

    def _is_size(self, node: fx.Node) -> bool:
        """Return whether a frozen node yields plain numbers that are the same for any number of images."""
        two, three = _plain(self._for_two[node]), _plain(self._for_three[node])
        return node not in self._live and two is not _UNKNOWN and type(two) is type(three) and bool(two == three)

    def _is_image_count(self, node: fx.Node) -> bool:
        """Return whether a frozen node yields the number of images."""
        values = self._for_two[node], self._for_three[node]
        return self._is_frozen_of_images(node) and all(type(value) is int for value in values) and values == (2, 3)

    def _is_frozen_of_images(self, node: fx.Node) -> bool:
        return node not in self._live and node in self._of_images

    def _take_apart(self, node: fx.Node, graph: fx.Graph) -> None:
        """Give live nodes the tensors of a frozen tuple or list one by one, since only tensors can cross."""
        value = self._for_two[node]
        if not self._is_frozen_of_images(node) or type(value) not in {tuple, list}:
            return
        users = [user for user in node.users if user in self._live and user.target is not operator.getitem]
        if not users:
            return
        parts = []
        with graph.inserting_before(node.next):
            for number in range(len(value)):
                part = graph.call_function(operator.getitem, (node, number))
                self._for_two[part], self._for_three[part] = value[number], self._for_three[node][number]
                (self._sizes if self._is_size(part) else self._of_images).add(part)
                parts.append(part)
        together = type(value)(parts)
        for user in users:
            user.args, user.kwargs = fx.map_arg(
                (user.args, user.kwargs), lambda each: together if each is node else each
            )
        for part in parts:
            self._take_apart(part, graph)


def _plain(value: Any) -> Any:
    """Return numbers and the like, also in tuples and lists, as code can hold them; _UNKNOWN for anything else."""
    if isinstance(value, tuple | list):
        parts = [_plain(each) for each in value]
        if any(part is _UNKNOWN for part in parts):
            return _UNKNOWN
        return parts if isinstance(value, list) else tuple(parts)
    return value if value is None or type(value) in {int, float, bool, str} else _UNKNOWN


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
