"""Groups: how any network is sliced, from its input to its head, into named groups.

The slices are the top-level modules in the order in which images reach them (that of registration, where the network
has not been run), where

* containers (`features`, `blocks`, `classifier`) are expanded by one level, unless they are numbered siblings
  (`layer1`, `stage2`); so are wrappers that hold most of the network (a vision transformer's `encoder`), and the
  modules around the head;
* a module with only vectors (a norm, a scale) or without parameters (activation, pooling, dropout) joins the slice
  before it;
* single layers and patch embeddings before the first block, and bare parameters, become the `stem`, unless the whole
  network is made of single layers (VGG);
* a bare parameter that is used later is in the slice that runs then; one that is used everywhere is in the first;
* a small module that runs within another joins it; patch embeddings that are listed together but run apart are apart.
"""

# Four networks, unit by unit. Units in one line are one group.
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
#
#   timm/twins_svt_small: registered as patch_embeds, blocks, pos_block, norm, but images go through the four stages.
#     patch_embeds.0                                    the stem: one module, which gives it its name
#     blocks.0             blocks.0, pos_block.0        pos_block.0 runs between two blocks of blocks.0
#     patch_embeds.1
#     ...
#     blocks.3             blocks.3, pos_block.3, norm
#     head                 head

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    """The smallest module that a group can consist of; `is_within` if it runs while the unit before it does."""

    name: str
    module: nn.Module
    is_head: bool
    is_within: bool = False

    @property
    def joins_neighbour(self) -> bool:
        """Whether the module runs within the unit before it, or has no parameters, or vectors only."""
        return not self.is_head and (self.is_within or all(map(is_vector, self.module.parameters())))

    @property
    def is_single_layer(self) -> bool:
        """Whether it is small: a stem by name, or at most one weight matrix or convolution kernel."""
        tensors = [list(module.parameters(recurse=False)) for module in self.module.modules()]
        return _is_stem(self.name) or sum(not all(map(is_vector, own)) for own in tensors) <= 1


def group_network(network: nn.Module, heads: Sequence[str], uses: Mapping[str, int]) -> tuple[Group, ...]:
    """Return the groups of `network`, whose new layers are the modules `heads`, from the input to the head.

    `uses` says when images first use each parameter and module; it is empty where that is not known.
    """
    units = _in_order(list(_expand(network, "", heads=heads)), uses)
    starts = {name: start for name, (start, _) in _spans(units, uses).items()}
    stem_units = _count_stem(units)
    slices = _slices(units, stem_units)
    slice_of = {unit.name: number for number, members in enumerate(slices) for unit in members}
    parameters: list[list[str]] = [[] for _ in slices]
    buffers: list[list[str]] = [[] for _ in slices]
    for name, _ in network.named_parameters():
        parameters[slice_of[_owner(name, units, starts, uses.get(name, 0)).name]].append(name)
    for name, _ in network.named_buffers():
        buffers[slice_of[_owner(name, units, starts, 0).name]].append(name)
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


def _expand(module: nn.Module, prefix: str, *, heads: Sequence[str]) -> Iterator[_Unit]:
    """Yield the units below `module`, expanding containers, wrappers and whatever holds the head."""
    children = dict(module.named_children())
    stems = [_without_number(name) for name in children]
    for name, child in children.items():
        path = f"{prefix}{name}"
        numbered = stems.count(_without_number(name)) > 1
        if path in heads:
            yield _Unit(path, child, is_head=True)
        elif any(_lies_in(head, path) for head in heads):
            yield from _contents(child, f"{path}.", heads=heads)
        elif numbered or _is_stem(path) or not any(child.children()):
            yield _Unit(path, child, is_head=False)
        elif _is_container(child):
            yield from _contents(child, f"{path}.", heads=heads)
        elif _is_wrapper(child, inside=module):
            yield from _expand(child, f"{path}.", heads=heads)
        else:
            yield _Unit(path, child, is_head=False)


def _contents(module: nn.Module, prefix: str, *, heads: Sequence[str]) -> Iterator[_Unit]:
    """Yield the children of a container as units; the one that holds the head is opened in turn."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if path not in heads and any(_lies_in(head, path) for head in heads):
            yield from _contents(child, f"{path}.", heads=heads)
        else:
            yield _Unit(path, child, is_head=path in heads)


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


def _in_order(units: list[_Unit], uses: Mapping[str, int]) -> list[_Unit]:
    """Return the units as images reach them, as they are if those with parameters are registered so.

    A unit that is not used stays behind the one before it.
    """
    spans = _spans(units, uses)
    starts = [spans[unit.name][0] for unit in units if unit.name in spans and list(unit.module.parameters())]
    if starts == sorted(starts):
        return units
    apart: list[_Unit] = []
    for unit in units:
        if _is_stem(unit.name) and _is_container(unit.module) and _inside_of(unit.name, spans):
            apart.extend(_contents(unit.module, f"{unit.name}.", heads=()))
        else:
            apart.append(unit)
    spans = _spans(apart, uses)
    order: dict[str, int] = {}
    for before, unit in zip([None, *apart], apart, strict=False):
        order[unit.name] = spans[unit.name][0] if unit.name in spans else order[before.name] if before else 0
    sizes = {unit.name: sum(tensor.numel() for tensor in unit.module.parameters()) for unit in apart}
    running = [unit.name for unit in apart if unit.name in spans]
    within = {name for outer in running for name in _inside_of(outer, spans) if sizes[name] < sizes[outer]}
    return [
        replace(unit, is_within=unit.name in within and not unit.is_head)
        for unit in sorted(apart, key=lambda unit: order[unit.name])
    ]


def _spans(units: Sequence[_Unit], uses: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return when the first and the last part of each unit is first used; units that are not used are left out."""
    found = {unit.name: [when for name, when in uses.items() if _lies_in(name, unit.name)] for unit in units}
    return {name: (min(whens), max(whens)) for name, whens in found.items() if whens}


def _inside_of(outer: str, spans: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the units that start and end while this one runs."""
    start, end = spans[outer]
    return [name for name, (first, last) in spans.items() if start < first <= last < end]


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


def _owner(name: str, units: Sequence[_Unit], starts: Mapping[str, int], used: int) -> _Unit:
    """Return the unit that a tensor lies in.

    A bare tensor belongs to the unit that runs when it is first used, among those in the module that holds it.
    """
    for unit in units:
        if _lies_in(name, unit.name):
            return unit
    parent = name.rpartition(".")[0]
    around = [unit for unit in units if _lies_in(unit.name, parent)]
    started = [unit for unit in around if not unit.is_head and starts.get(unit.name, used) < used]
    return started[-1] if started else around[0]


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
