"""Traces a network's forward to a graph: of a twin without weights, with the modules of the groups kept whole."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from ftcli.model.network import Network
from ftcli.phrases import first_line

IMAGES = "images"
"""The name of the only input of every graph."""

_MOST_CHARACTERS = 200
"""How much of the error of a model's code is shown."""


class UntraceableError(Exception):
    """A forward that cannot become a graph; it is caught within the model package."""


def trace_phase(network: Network, twin: nn.Module, lr: Mapping[str, float | None]) -> fx.Graph:
    """Trace a twin of `network`; the modes of modules that train in the phase are read when the graph runs.

    The twin's modes are overwritten. Raises UntraceableError.
    """
    for path, module in twin.named_modules():
        # As freezing.apply_phase sets them: a module is in train mode where every group in or around it trains.
        trains = all(lr[name] is not None for name in groups_at(network, path))
        module.training = _AskedMode(path) if trains else False
    leaves = {path for group in network.groups for path in group.modules}
    return trace(twin, leaves)


def trace(module: nn.Module, leaves: Iterable[str] = ()) -> fx.Graph:
    """Trace `module` on one tensor; modules at the paths `leaves`, and layers of torch and timm, are kept whole.

    Raises UntraceableError.
    """
    try:
        return _Tracer(leaves).trace(module)
    except Exception as error:
        # Any model's code runs here on stand-ins for tensors, so that anything may be raised.
        raise UntraceableError(first_line(error)[:_MOST_CHARACTERS]) from error


def make_twin(module: nn.Module) -> nn.Module:
    """Copy a module with its parameters and buffers on the meta device. Raises UntraceableError."""
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    memo: dict[int, Any] = {id(tensor): _on_meta(tensor) for tensor in tensors}
    try:
        return copy.deepcopy(module, memo)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise UntraceableError(first_line(error)[:_MOST_CHARACTERS]) from error


def run_on_meta(twin: nn.Module, graph: fx.Graph, *, images: int, image_size: int) -> dict[fx.Node, Any]:
    """Return what every node of a graph of the twin yields for so many images: shapes, without values.

    Raises UntraceableError.
    """
    for module in twin.modules():
        module.training = False
    recorder = _Recorder(twin, graph=graph)
    try:
        with torch.no_grad():
            recorder.run(torch.empty(images, 3, image_size, image_size, device="meta"))
    except Exception as error:
        raise UntraceableError(first_line(error)[:_MOST_CHARACTERS]) from error  # as in `trace`
    return recorder.values


def groups_at(network: Network, path: str) -> list[str]:
    """Return the groups inside the module at `path`, or around it."""
    return [
        group.name
        for group in network.groups
        if any(not path or m == path or m.startswith(f"{path}.") or path.startswith(f"{m}.") for m in group.modules)
    ]


def is_training(module: nn.Module) -> bool:
    """Return the mode of a module; called while a graph runs."""
    return module.training


class _AskedMode:
    """Replaces a module's `training` while it is traced: it may be passed on, but not branched on."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __bool__(self) -> bool:
        raise UntraceableError(f"the forward of {self.path or 'the network'} branches on its mode")


class _Tracer(fx.Tracer):
    """Traces a module called with one tensor; other arguments of its forward keep their defaults."""

    def __init__(self, leaves: Iterable[str]) -> None:
        from timm.models import _features_fx  # importing timm.models registers its leaves there

        registry: Any = _features_fx
        super().__init__(autowrap_functions=tuple(registry.get_notrace_functions()))
        self._leaves = frozenset(leaves)
        self._leaf_types = tuple(registry.get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self._leaves or isinstance(m, self._leaf_types):
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,  # noqa: FBT001 - torch's signature
        concrete_args: Any = None,
    ) -> tuple[Callable[..., Any], list[Any]]:
        # Not stand-ins for the other arguments, too: `mask is None` would be false.
        del is_module, concrete_args
        return root_fn, [self.root, self.create_proxy("placeholder", IMAGES, (), {})]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, _AskedMode):
            owner = self.create_node("get_attr", a.path, (), {})
            return self.create_node("call_function", is_training, (owner,), {})
        return super().create_arg(a)


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps what each node yields."""

    def __init__(self, module: nn.Module, *, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _on_meta(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to("meta")
    return nn.Parameter(moved, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
