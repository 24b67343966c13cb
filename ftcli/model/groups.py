"""Groups: how any network is sliced, from its input to its head, into named groups.

The slices are the top-level modules in the order of registration, where

* containers (`features`, `blocks`, `classifier`) are expanded by one level, unless they are numbered siblings
  (`layer1`, `stage2`); so are wrappers that hold most of the network (a vision transformer's `encoder`), and the
  modules around the head;
* a module with only vectors (a norm, a scale) or without parameters (activation, pooling, dropout) joins the slice
  before it;
* single layers and patch embeddings before the first block, and bare parameters, become the `stem`, unless the whole
  network is made of single layers (VGG).
"""

# Three networks, unit by unit. Units in one line are one group.
#
#   resnet18: the top-level modules; layer1 to layer4 are numbered siblings, so these Sequentials stay whole.
#     stem                 conv1, bn1, relu, maxpool    one of the five units with weights, before the first block
#     layer1 ... layer3
#     layer4               layer4, avgpool              pooling joins the slice before it
#     head                 fc
#
#   vgg16: `features` and `classifier` are containers, and all that they hold are single layers. A stem of single layers
#   would be the whole network, so there is none.
#     features.0           features.0, features.1       a convolution and its activation
#     ...
#     features.28          features.28 to 30, avgpool
#     classifier.0         classifier.0 to 2            a linear layer, its activation, dropout
#     classifier.3         classifier.3 to 5
#     head                 classifier.6
#
#   vit_b_16: `encoder` is a wrapper, since it holds most of the network around the container `encoder.layers`.
#     stem                 conv_proj, encoder.dropout   and the bare tensors class_token and encoder.pos_embedding
#     encoder.layers.encoder_layer_0 ... _10
#     encoder.layers.encoder_layer_11                   with encoder.ln, a norm
#     head                 heads.head

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor, nn

STEM = "stem"
HEAD = "head"

_STEMS = ("stem", "patch_embed")
"""How both libraries name the first layers, however many there are."""


@dataclass(frozen=True)
class Group:
    """One ordered slice of a network, as qualified names.

    `modules` are the largest modules that lie wholly in the slice, in order: together, the groups hold every leaf
    module once. `parameters` and `buffers` are all its tensors, including bare ones that lie in no such module.
    """

    name: str
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    parameter_count: int


@dataclass(frozen=True)
class _Unit:
    """The smallest module that a group can consist of."""

    name: str
    module: nn.Module
    is_head: bool

    @property
    def joins_neighbour(self) -> bool:
        """Whether the module has no parameters, or vectors only."""
        return not self.is_head and all(is_vector(tensor) for tensor in self.module.parameters())

    @property
    def is_single_layer(self) -> bool:
        """Whether it is small: a stem by name, or at most one weight matrix or convolution kernel."""
        tensors = [list(module.parameters(recurse=False)) for module in self.module.modules()]
        return _is_stem(self.name) or sum(not all(map(is_vector, own)) for own in tensors) <= 1


def group_network(network: nn.Module, head: str) -> tuple[Group, ...]:
    """Return the groups of `network`, whose new layer is the module `head`, from the input to the head."""
    units = list(_expand(network, "", head=head))
    stem_units = _count_stem(units)
    slices = _slices(units, stem_units)
    slice_of = {unit.name: number for number, members in enumerate(slices) for unit in members}
    parameters: list[list[str]] = [[] for _ in slices]
    buffers: list[list[str]] = [[] for _ in slices]
    for name, _ in network.named_parameters():
        parameters[slice_of[_owner(name, units).name]].append(name)
    for name, _ in network.named_buffers():
        buffers[slice_of[_owner(name, units).name]].append(name)
    groups = []
    for number, members in enumerate(slices):
        modules = _largest(members, units)
        is_stem = number == 0 and stem_units > 0
        groups.append(
            Group(
                name=_name(members, modules, parameters[number], is_stem=is_stem),
                modules=modules,
                parameters=tuple(parameters[number]),
                buffers=tuple(buffers[number]),
                parameter_count=sum(network.get_parameter(name).numel() for name in parameters[number]),
            )
        )
    return tuple(groups)


def _expand(module: nn.Module, prefix: str, *, head: str) -> Iterator[_Unit]:
    """Yield the units below `module`, expanding containers, wrappers and whatever holds the head."""
    children = dict(module.named_children())
    stems = [_without_number(name) for name in children]
    for name, child in children.items():
        path = f"{prefix}{name}"
        numbered = stems.count(_without_number(name)) > 1
        if path == head:
            yield _Unit(path, child, is_head=True)
        elif head.startswith(f"{path}."):
            yield from _contents(child, f"{path}.", head=head)
        elif numbered or _is_stem(path) or not any(child.children()):
            yield _Unit(path, child, is_head=False)
        elif _is_container(child):
            yield from _contents(child, f"{path}.", head=head)
        elif _is_wrapper(child, inside=module):
            yield from _expand(child, f"{path}.", head=head)
        else:
            yield _Unit(path, child, is_head=False)


def _contents(module: nn.Module, prefix: str, *, head: str) -> Iterator[_Unit]:
    """Yield the children of a container as units; the one that holds the head is opened in turn."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if head.startswith(f"{path}."):
            yield from _contents(child, f"{path}.", head=head)
        else:
            yield _Unit(path, child, is_head=path == head)


def _without_number(name: str) -> str:
    return re.sub(r"_?\d.*$", "", name)


def _is_stem(path: str) -> bool:
    return path.rpartition(".")[2].startswith(_STEMS)


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList)


def _is_wrapper(module: nn.Module, *, inside: nn.Module) -> bool:
    """Return whether a module holds most of the network, around a container of blocks."""
    share = sum(p.numel() for p in module.parameters()) / max(1, sum(p.numel() for p in inside.parameters()))
    return share > 0.5 and any(map(_is_container, module.children()))


def is_vector(tensor: Tensor) -> bool:
    """Return whether a tensor has one axis that is longer than 1: a bias, a norm, a scale, a token."""
    return tensor.numel() == max(tensor.shape, default=1)


def _slices(units: Sequence[_Unit], stem_units: int) -> list[list[_Unit]]:
    """Cut the units into groups; the last one is the head and the parameterless modules after it."""
    at_head = next(number for number, unit in enumerate(units) if unit.is_head)
    tail = [unit for unit in units[at_head:] if unit.is_head or not list(unit.module.parameters())]
    # A module with parameters that is registered after the head runs before it.
    body = [unit for unit in units if unit not in tail]
    slices = [body[:stem_units]] if stem_units else []
    waiting: list[_Unit] = []  # what would join the slice before it, at the input, where there is none
    for unit in body[stem_units:]:
        if not unit.joins_neighbour:
            slices.append([*waiting, unit])
            waiting = []
        elif slices:
            slices[-1].append(unit)
        else:
            waiting.append(unit)
    return [*slices, [*waiting, *tail]]


def _count_stem(units: Sequence[_Unit]) -> int:
    """Return how many of the first units are the stem; 0 where the network is mostly made of single layers."""
    first = list(takewhile(lambda unit: unit.is_single_layer and not unit.is_head, units))
    weighted = sum(not unit.joins_neighbour for unit in first)
    of_body = sum(not unit.joins_neighbour and not unit.is_head for unit in units)
    return len(first) if 0 < weighted <= of_body / 2 else 0


def _owner(name: str, units: Sequence[_Unit]) -> _Unit:
    """Return the unit that a tensor lies in; a bare tensor belongs to the first unit of the module that holds it."""
    for unit in units:
        if _lies_in(name, unit.name):
            return unit
    parent = name.rpartition(".")[0]
    return next(unit for unit in units if _lies_in(unit.name, parent))


def _largest(members: Sequence[_Unit], units: Sequence[_Unit]) -> tuple[str, ...]:
    """Return the names of the largest modules that these units fill, in order: `layer1`, not each layer in it."""
    if members[-1].is_head:
        return tuple(unit.name for unit in members)
    elsewhere = [unit.name for unit in units if unit not in members]
    names: dict[str, None] = {}  # in order, each once
    for member in members:
        parts = member.name.split(".")
        paths = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
        names[next(path for path in paths if not any(_lies_in(name, path) for name in elsewhere))] = None
    return tuple(names)


def _name(members: Sequence[_Unit], modules: Sequence[str], tensors: Sequence[str], *, is_stem: bool) -> str:
    """Return `head`, `stem`, or the name of the module with the weights."""
    if any(unit.is_head for unit in members):
        return HEAD
    # A stem of one module keeps that module's name, such as `features.0` of a MobileNet. A bare tensor counts as one.
    with_tensors = {next((path for path in modules if _lies_in(name, path)), name) for name in tensors}
    if is_stem and len(with_tensors) > 1:
        return STEM
    main = next((unit for unit in members if not unit.joins_neighbour), members[0])
    return next(path for path in modules if _lies_in(main.name, path))


def _lies_in(name: str, path: str) -> bool:
    """Return whether a qualified name is `path` or lies below it; the empty path is the whole network."""
    return not path or name == path or name.startswith(f"{path}.")
