"""Traces a network's forward to a graph: of a twin without weights, with the modules of the groups kept whole."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from ftcli.model.network import Network

IMAGES = "images"
"""The name of the only input of every graph."""


class UntraceableError(Exception):
    """A forward that cannot become a graph, with the reason as a clause; it is caught within the model package."""


def trace_phase(network: Network, twin: nn.Module, lr: Mapping[str, float | None]) -> fx.Graph:
    """Trace a twin of `network`; the modes of modules that train in the phase are read when the graph runs.

    The twin's modes are overwritten. Raises UntraceableError.
    """
    leaves = {path for group in network.groups for path in group.modules}
    # As freezing.apply_phase sets them: a module is in train mode where every group in or around it trains.
    training = {
        path: module
        for path, module in twin.named_modules()
        if all(lr[name] is not None for name in groups_at(network, path))
    }
    for module in twin.modules():
        module.training = False
    try:
        for path, module in training.items():
            module.training = _AskedMode(path)
        return trace(twin, leaves)
    except _BranchOnModeError:
        # The branch may be the same in both modes, as in `self.training and self.distilled`.
        graphs = []
        for mode in (True, False):
            for module in training.values():
                module.training = mode
            graphs.append(trace(twin, leaves))
        if str(graphs[0]) != str(graphs[1]):
            raise
        return graphs[0]


def trace(module: nn.Module, leaves: Iterable[str] = ()) -> fx.Graph:
    """Trace `module` on one tensor; modules at the paths `leaves`, and layers of torch and timm, are kept whole.

    Raises UntraceableError.
    """
    try:
        return _Tracer(leaves).trace(module)
    except UntraceableError:
        raise
    except TraceError as error:
        raise UntraceableError("its code depends on the values or the number of its inputs") from error
    except Exception as error:
        # Any model's code runs here on stand-ins for tensors, so that anything may be raised.
        raise UntraceableError(f"its code cannot be traced ({type(error).__name__})") from error


def make_twin(module: nn.Module) -> nn.Module:
    """Copy a module with its parameters and saved buffers on the meta device. Raises UntraceableError.

    Buffers that are not saved follow from the architecture, such as tables of rotations: they keep their values, so
    that code which computes with them yields constants.
    """
    saved = module.state_dict().keys()
    tensors = [*module.parameters(), *(buffer for name, buffer in module.named_buffers() if name in saved)]
    memo: dict[int, Any] = {id(tensor): _on_meta(tensor) for tensor in tensors}
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise UntraceableError(f"its modules cannot be copied ({type(error).__name__})") from error


def graph_constants(twin: nn.Module, graph: fx.Graph) -> dict[str, Tensor]:
    """Return the tensors that a traced graph of a twin reads, by name, and that are no parameters or buffers.

    Raises UntraceableError for one whose values are unknown.
    """
    owned = (*twin.named_parameters(remove_duplicate=False), *twin.named_buffers(remove_duplicate=False))
    constants = {}
    for name in {str(node.target) for node in graph.nodes if node.op == "get_attr"} - dict(owned).keys():
        value = operator.attrgetter(name)(twin)
        if isinstance(value, Tensor):
            if value.is_meta:
                raise UntraceableError("its code computes with its weights before it reads the images")
            constants[name] = value
    return constants


def run_on_meta(twin: nn.Module, graph: fx.Graph, *, images: int, image_size: int) -> dict[fx.Node, Any]:
    """Return what every node of a graph of the twin yields for so many images: shapes, without values.

    Modules are in eval mode, and all tensors and devices are taken to the meta device. Raises UntraceableError.
    """
    for module in twin.modules():
        module.training = False
    recorder = _Recorder(twin.to("meta"), graph=graph)
    try:
        with torch.no_grad(), torch.device("meta"):
            recorder.run(torch.empty(images, 3, image_size, image_size))
    except Exception as error:  # as in `trace`
        what = f"its shapes for images of {image_size} px cannot be derived without computing ({type(error).__name__})"
        raise UntraceableError(what) from error
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


class _BranchOnModeError(UntraceableError):
    pass


class _AskedMode:
    """Replaces a module's `training` while it is traced: it may be passed on, but not branched on."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __bool__(self) -> bool:
        raise _BranchOnModeError(f"its code depends on whether {self.path or 'the network'} is in train mode")


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

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[Any, Any]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return _as_passed(tuple(args)), _as_passed(dict(kwargs))

    def fetch_attr(self, target: str) -> Any:
        value = super().fetch_attr(target)
        return value.to("meta") if isinstance(value, Tensor) else value


def _as_passed(value: Any) -> Any:
    """Return an argument as compiled code would pass it, with lists that can be changed, for the meta device."""
    if isinstance(value, torch.device):
        return torch.device("meta")
    if isinstance(value, list):
        return [_as_passed(each) for each in value]
    if type(value) is tuple:
        return tuple(_as_passed(each) for each in value)
    return {key: _as_passed(each) for key, each in value.items()} if isinstance(value, dict) else value


def _on_meta(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to("meta")
    return nn.Parameter(moved, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
