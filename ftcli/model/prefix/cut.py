"""The cut: a network as a frozen prefix, a pure function of the images, and a suffix of live modules.

A forward of three lines, in a phase that freezes `stem` and trains `block` and `head`:

    a = stem(images)              frozen: nothing trainable comes before it
    p = relu(a)                   frozen, too
    logits = head(block(a) + p)   live

The prefix is images -> (a, p): it runs once for each view, and its results may be stored. The suffix is
(a, p) -> logits, and runs in every step. What crosses the cut are the frozen tensors that live lines read: a and p.
Shapes such as a.shape[0] do not cross; the suffix takes them from the features it gets. If `stem` trains, every line is
live, only the images would cross, and the network is not cut.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ftcli.model.freezing import evaluating
from ftcli.model.network import Network
from ftcli.model.prefix.split import Split
from ftcli.model.prefix.trace import UntraceableError, graph_constants, make_twin, run_on_meta, trace_phase

Features = tuple[Tensor, ...]
"""What crosses the cut; every tensor has one row per image."""

TOLERANCE = 1e-3
"""How far the cut network may be from the whole one, relative to the largest logit; TF32 alone needs this much."""


@dataclass(frozen=True)
class NotCut:
    """The reason why a network is not cut, without a full stop."""

    reason: str


@dataclass(frozen=True, eq=False)
class Cut:
    """A network cut where its frozen part ends; valid for one phase, since both sides use its live modules.

    `reads` are the parameters and buffers that the prefix depends on. `description` is equal for equal prefixes only.
    `row_shapes` are the shapes of what crosses, for one image.
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
        """Return logits (N, classes); modules keep their modes and collect gradients as usual."""
        logits: Tensor = self.live(*features)
        return logits

    def check(self, images: Tensor) -> NotCut | None:
        """Compare with the whole network in eval mode; None means equal."""
        # Also on the first image alone: a forward may treat a batch of one differently.
        for batch in (images, images[:1]):
            with evaluating(self.network) as module:
                whole = module(batch)
                try:
                    features = self.frozen(batch)
                    before = [feature.clone() for feature in features]
                    logits = self.suffix(features)
                except Exception as error:  # noqa: BLE001 - any model's code, taken apart; the whole one is there
                    return NotCut(f"the cut network fails with {type(error).__name__}")
            if not all(map(torch.equal, before, features)):
                return NotCut("the trainable part writes into what crosses the cut")
            off = deviation(logits, whole)
            if not off <= TOLERANCE:
                return NotCut(f"the cut network deviates from the whole one by {off:.1e}")
        return None


def cut_network(network: Network, lr: Mapping[str, float | None]) -> Cut | NotCut:
    """Cut a network after everything that depends on nothing trainable in a phase with these rates.

    The forward is traced and split by data flow. Nothing is computed, and the network is not changed.
    """
    if None not in lr.values():
        return NotCut("every group trains")
    try:
        twin = make_twin(network.module)
        graph = trace_phase(network, twin, lr)
        constants = graph_constants(twin, graph)
        # Shapes for two and for three images show which tensors have one row per image.
        values, others = (run_on_meta(twin, graph, images=n, image_size=network.spec.image_size) for n in (2, 3))
    except UntraceableError as error:
        return NotCut(f"{network.name} cannot be cut: {error}")
    try:
        return _cut(network, Split(network, lr, graph, values, others), constants)
    except Exception as error:  # noqa: BLE001 - graphs of any model's code; the whole network is there
        return NotCut(f"{network.name} cannot be cut: its two parts cannot be built ({type(error).__name__})")


def _cut(network: Network, split: Split, constants: Mapping[str, Tensor]) -> Cut | NotCut:
    """Build the two sides of a split; constants are tensors of the traced graph that the network does not hold."""
    reason = _obstacle(split)
    if reason is not None:
        return NotCut(reason)
    prefix = split.prefix()
    reads = tuple(_tensor_names(network.module, prefix))
    if not reads:
        return NotCut("the first layers train")
    root = copy.copy(network.module)  # shares every module and tensor
    for name, constant in constants.items():
        if "." not in name:
            setattr(root, name, constant)
    return Cut(
        network=network,
        frozen=fx.GraphModule(root, prefix, "Prefix"),
        live=fx.GraphModule(root, split.suffix(), "Suffix"),
        reads=reads,
        description=_describe(network, prefix, constants),
        row_shapes=split.row_shapes,
    )


def deviation(values: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference relative to the largest expected absolute value."""
    scale = expected.detach().abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((values.detach() - expected.detach()).abs().max() / scale)


def _obstacle(split: Split) -> str | None:
    """Return why a network cannot be split so."""
    if any(node.op == "placeholder" for node in split.crossing):
        return "the first layers train"
    if split.overwrites_frozen:
        return "the trainable part writes into what crosses the cut"
    if not split.has_one_row_per_image:
        return "a tensor crosses the cut that does not have one row per image"
    return None


def _tensor_names(module: nn.Module, graph: fx.Graph) -> Iterator[str]:
    """Yield the names of the parameters and buffers that a graph reads, in the module's order."""
    paths = [str(node.target) for node in graph.nodes if node.op in {"call_module", "get_attr"}]
    tensors = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    for name, _ in tensors:
        if any(name == path or name.startswith(f"{path}.") for path in paths):
            yield name


def _describe(network: Network, graph: fx.Graph, constants: Mapping[str, Tensor]) -> str:
    """Describe a graph, its constants and the settings of its modules, equally in every process."""
    lines = [network.name, str(network.spec.image_size)]
    for node in graph.nodes:
        target: Any = node.target
        callee = target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"
        lines.append(f"{node.name} = {node.op} {callee} {node.args} {node.kwargs}")
        if node.op == "call_module":
            lines.append(repr(network.module.get_submodule(str(node.target))))
        elif target in constants:
            lines.append(
                hashlib.sha256(
                    constants[target].cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
                ).hexdigest()
            )
    # The representation of some functions has their address, which differs between processes.
    return re.sub(r" at 0x[0-9a-f]+", "", "\n".join(lines))
