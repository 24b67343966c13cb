"""Owns the groups: how any network is sliced, from its input to its head, into named groups.

The slices are the top-level modules in the order of registration, where

* containers (`features`, `blocks`, `classifier`) are expanded by one level, unless they are numbered siblings
  (`layer1`, `stage2`); so are wrappers that hold most of the network (a vision transformer's `encoder`), and whatever
  holds the head;
* what has only vectors (a norm, a scale) or nothing at all (activation, pooling, dropout) joins the slice before it;
* single layers and patch embeddings before the first block, and bare parameters, become the `stem`, unless the whole
  network is made of single layers (VGG).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor, nn

STEM = "stem"
HEAD = "head"

_STEMS = ("stem", "patch_embed")
"""What both libraries call the first layers, however many there are."""


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
        return not self.is_head and all(_is_vector(tensor) for tensor in self.module.parameters())

    @property
    def is_single_layer(self) -> bool:
        """Whether it is small: a stem by name, or at most one weight matrix or convolution kernel."""
        return _is_stem(self.name) or sum(map(_has_weight, self.module.modules())) <= 1

    def holds(self, name: str) -> bool:
        """Tell whether a qualified name lies in this module."""
        return name == self.name or name.startswith(f"{self.name}.")


def group_network(network: nn.Module, head: str) -> tuple[Group, ...]:
    """Return the groups of `network`, whose new layer is the module `head`, from the input to the head."""
    units = list(_expand(network, "", head=head))
    slices = _slices(units)
    owners = {unit.name: number for number, members in enumerate(slices) for unit in members}
    parameters: list[list[str]] = [[] for _ in slices]
    buffers: list[list[str]] = [[] for _ in slices]
    for name, tensor in _tensors(network):
        number = owners[_owner(name, units).name]
        (parameters if isinstance(tensor, nn.Parameter) else buffers)[number].append(name)
    stemless = _leading(units) == 0
    return tuple(
        Group(
            name=_name(members, modules, units, stemless=stemless, tensors=parameters[number]),
            modules=modules,
            parameters=tuple(parameters[number]),
            buffers=tuple(buffers[number]),
            parameter_count=sum(network.get_parameter(name).numel() for name in parameters[number]),
        )
        for number, members in enumerate(slices)
        for modules in [_largest(members, units)]
    )


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
    """Tell whether a module is most of the network around a container of blocks."""
    share = sum(p.numel() for p in module.parameters()) / max(1, sum(p.numel() for p in inside.parameters()))
    return share > 0.5 and any(map(_is_container, module.children()))


def _is_vector(tensor: Tensor) -> bool:
    return tensor.numel() == max(tensor.shape, default=1)


def _has_weight(module: nn.Module) -> bool:
    return any(not _is_vector(tensor) for tensor in module.parameters(recurse=False))


def _slices(units: Sequence[_Unit]) -> list[list[_Unit]]:
    """Cut the units into groups; the last one is the head and the parameterless modules after it."""
    at_head = next(number for number, unit in enumerate(units) if unit.is_head)
    tail = [unit for unit in units[at_head:] if unit.is_head or not list(unit.module.parameters())]
    # A module with parameters that is registered after the head runs before it.
    body = [unit for unit in units if unit not in tail]
    leading = _leading(units)
    slices = [body[:leading]] if leading else []
    waiting: list[_Unit] = []
    for unit in body[leading:]:
        if not unit.joins_neighbour:
            slices.append([*waiting, unit])
            waiting = []
        elif slices:
            slices[-1].append(unit)
        else:
            waiting.append(unit)
    return [*slices, [*waiting, *tail]]


def _leading(units: Sequence[_Unit]) -> int:
    """Return how many of the first units are the stem; 0 where the network is mostly made of single layers."""
    run = list(takewhile(lambda unit: unit.is_single_layer and not unit.is_head, units))
    weights = sum(not unit.joins_neighbour for unit in run)
    total = sum(not unit.joins_neighbour and not unit.is_head for unit in units)
    return len(run) if weights and weights <= total / 2 else 0


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _owner(name: str, units: Sequence[_Unit]) -> _Unit:
    """Return the unit that a tensor lies in; a bare tensor belongs to the first unit beside or below it."""
    inside = next((unit for unit in units if unit.holds(name)), None)
    if inside is not None:
        return inside
    prefix = name.rpartition(".")[0]
    return next(unit for unit in units if unit.name.startswith(f"{prefix}." if prefix else ""))


def _largest(members: Sequence[_Unit], units: Sequence[_Unit]) -> tuple[str, ...]:
    """Return the names of the largest modules that these units fill, in order."""
    names: dict[str, None] = {}
    for member in members:
        whole = member.name
        if not members[-1].is_head:
            whole = next(path for path in _ancestry(member.name) if _fills(path, members, units))
        names[whole] = None
    return tuple(names)


def _ancestry(name: str) -> Iterable[str]:
    """Yield `a`, `a.b`, `a.b.c` for `a.b.c`."""
    parts = name.split(".")
    return (".".join(parts[: length + 1]) for length in range(len(parts)))


def _fills(path: str, members: Sequence[_Unit], units: Sequence[_Unit]) -> bool:
    below = [unit for unit in units if unit.name == path or unit.name.startswith(f"{path}.")]
    return all(unit in members for unit in below)


def _name(
    members: Sequence[_Unit], modules: Sequence[str], units: Sequence[_Unit], *, stemless: bool, tensors: Sequence[str]
) -> str:
    """Return `head`, `stem` where several first things are merged, else the name of the module with the weights."""
    if any(unit.is_head for unit in members):
        return HEAD
    main = next((unit for unit in members if not unit.joins_neighbour), members[0])
    whole = next(path for path in modules if main.name == path or main.name.startswith(f"{path}."))
    things = {next((path for path in modules if name.startswith(f"{path}.")), name) for name in tensors}
    first = units[0] in members
    return STEM if first and not stemless and len(things) > 1 else whole
