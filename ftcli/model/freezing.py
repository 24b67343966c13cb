"""Freezing: the only code that sets `requires_grad` and train or eval mode, and the proof that frozen groups stay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ftcli.model.groups import Group

if TYPE_CHECKING:  # network.py itself needs eval_mode
    from ftcli.model.network import Network

BatchNormMode = Literal["train", "eval"]


def apply_phase(network: Network, lr: Mapping[str, float | None], *, batchnorm: BatchNormMode = "train") -> None:
    """Freeze the groups without a rate (no gradient, eval mode), and train the others.

    With `batchnorm` eval, the BatchNorm layers of these normalise by their statistics, which stay; their weights train.

    A module in no group (the root, a container around several groups) is in train mode only if everything inside is:
    dropout in its own `forward` must not change the output of frozen groups.
    """
    assert tuple(lr) == tuple(group.name for group in network.groups), "a phase covers every group, in order"
    around: dict[str, bool] = {}
    for group in network.groups:
        trainable = lr[group.name] is not None
        for name in group.parameters:
            network.module.get_parameter(name).requires_grad_(trainable)
        for path in group.modules:
            module = network.module.get_submodule(path).train(trainable)
            if batchnorm == "eval":
                for layer in _batchnorm_layers(module):
                    layer.training = False  # not eval(): timm's layers hold the dropout after them
            around |= {above: trainable and around.get(above, True) for above in _above(path)}
    for path, training in around.items():
        network.module.get_submodule(path).training = training


@contextmanager
def evaluating(network: Network) -> Iterator[nn.Module]:
    """Yield the module wholly in eval mode, without gradients; restore every module's mode afterwards."""
    with eval_mode(network.module), torch.no_grad():
        yield network.module


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module and all below it into eval mode; restore each one's own mode afterwards."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode


def has_batchnorm(network: Network, group: Group) -> bool:
    """Return whether a group has BatchNorm layers."""
    return any(True for path in group.modules for _ in _batchnorm_layers(network.module.get_submodule(path)))


def fingerprint(network: Network, groups: Sequence[str]) -> dict[str, str]:
    """Return a hash of the bytes of every parameter and buffer of each of the groups."""
    tensors: dict[str, Tensor] = {**dict(network.module.named_parameters()), **dict(network.module.named_buffers())}
    return {
        group.name: _hash(tensors[name] for name in (*group.parameters, *group.buffers))
        for group in network.groups
        if group.name in groups
    }


@contextmanager
def standing_still(network: Network, groups: Sequence[str]) -> Iterator[None]:
    """Assert that no bit of these groups changes in the block, also if a generator is closed inside."""
    before = fingerprint(network, groups)
    try:
        yield
    except GeneratorExit:
        assert fingerprint(network, groups) == before, "frozen groups moved"
        raise
    assert fingerprint(network, groups) == before, "frozen groups moved"


def _batchnorm_layers(module: nn.Module) -> Iterator[nn.Module]:
    return (layer for layer in module.modules() if isinstance(layer, _BatchNorm))


def _hash(tensors: Iterator[Tensor]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)  # the fastest here; this guards against bugs, not attacks
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _above(path: str) -> Iterator[str]:
    """Yield the paths of the modules around a module, up to the root, which is the empty path."""
    while path:
        path = path.rpartition(".")[0]
        yield path
