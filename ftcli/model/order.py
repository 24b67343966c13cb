"""The order in which images reach the parts of a network, from one pass of it without weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from ftcli.model.freezing import eval_mode


def first_uses(network: nn.Module, image_size: int) -> dict[str, int]:
    """Return when each parameter and each module of a network is first used by images, counted from 0.

    What is not used, is left out. A copy on the meta device runs, in eval mode; the network is not touched.
    Raises what the network raises for images of a wrong size, and for a forward that needs real numbers.
    """
    tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
    memo: dict[int, Any] = {id(tensor): _on_meta(tensor) for tensor in tensors}
    twin = copy.deepcopy(network, memo)
    uses: dict[str, int] = {}
    for path, module in twin.named_modules():
        module.register_forward_pre_hook(_noting(uses, path))
    names = {id(tensor): name for name, tensor in twin.named_parameters()}
    with eval_mode(twin), torch.no_grad(), _Recorder(uses, names):
        twin(torch.empty(2, 3, image_size, image_size, device="meta"))
    return uses


def _on_meta(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to("meta")
    return nn.Parameter(moved, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def _noting(uses: dict[str, int], path: str) -> Callable[..., None]:
    def note(*_call: object) -> None:
        uses.setdefault(path, len(uses))

    return note


class _Recorder(TorchFunctionMode):
    """Records when a function first gets each parameter, and keeps every tensor on the meta device."""

    def __init__(self, uses: dict[str, int], names: Mapping[int, str]) -> None:
        super().__init__()
        self._uses, self._names = uses, names

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func` after a look at its arguments."""
        del types
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") == "__get__":  # such as .dtype, which is no use of the numbers
            return func(*args, **kwargs)
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        for tensor in tensors:
            name = self._names.get(id(tensor))
            if name is not None:
                self._uses.setdefault(name, len(self._uses))
        if not all(tensor.is_meta for tensor in tensors):
            # The forward has made a tensor elsewhere, or holds one that is no buffer.
            args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
        return func(*args, **kwargs)
