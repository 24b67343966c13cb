"""The fast forward of a frozen prefix on a CPU: a copy with BatchNorm folded into convolutions, channels last.

A change of the features needs a new engine.extraction.PREPROCESSING_VERSION.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ftcli.model.freezing import evaluating
from ftcli.model.prefix.cut import Cut, Features, deviation
from ftcli.model.prefix.trace import UntraceableError, trace

TOLERANCE = 1e-4
"""How far fast features may be from plain ones, relative to the largest."""

_CHECKED_IMAGES = 4


class FastPrefix:
    """Computes what `cut.prefix` computes, in less time; built by `fast_prefix`.

    `fallback` is the reason, without a full stop, why the plain prefix does the work; None where `quick` does.
    """

    def __init__(self, cut: Cut, quick: nn.Module, fallback: str | None = None) -> None:
        self.fallback = fallback
        self._cut = cut
        self.quick = quick
        self._checked = fallback is not None

    def __call__(self, images: Tensor) -> Features:
        """Return what crosses the cut for normalised images (N, 3, S, S); maps may come channels last."""
        images = images.contiguous(memory_format=torch.channels_last)
        if not self._checked:
            self.fallback = self._check(images[:_CHECKED_IMAGES])
            self._checked = True
        return self._cut.prefix(images) if self.fallback else self._run(images)

    def _run(self, images: Tensor) -> Features:
        # Not inference_mode: it saves no time, and a suffix could not be trained on its tensors.
        with torch.no_grad():
            features: Features = self.quick(images)
        return features

    def _check(self, images: Tensor) -> str | None:
        """Compare with the plain prefix in full precision; return why the fast one must not be used."""
        with torch.autocast(images.device.type, enabled=False):
            plain = self._cut.prefix(images)
            try:
                fast = self._run(images)
            except Exception as error:  # noqa: BLE001 - code of any model, rewritten; its plain form is there
                return f"the fast forward fails with {type(error).__name__}"
        for feature, expected in zip(fast, plain, strict=True):
            off = deviation(feature, expected)
            if not off <= TOLERANCE:  # true of NaN, too
                return f"the fast forward deviates from the plain one by {off:.1e}"
        return None


def fast_prefix(cut: Cut) -> FastPrefix:
    """Copy the prefix of a cut as it is now, and make the copy fast; the network is not changed.

    On the first call it is compared with the plain prefix. On other devices than the CPU nothing is folded.
    """
    try:
        with evaluating(cut.network):
            quick: nn.Module = copy.deepcopy(cut.frozen)
            if all(tensor.device.type == "cpu" for tensor in quick.parameters()):
                quick = fold_batchnorms(quick)
        to_channels_last(quick)
    except Exception as error:  # noqa: BLE001 - as in `_check`
        return FastPrefix(cut, cut.frozen, f"no fast forward can be made of it ({type(error).__name__})")
    return FastPrefix(cut, quick)


def to_channels_last(module: nn.Module) -> None:
    """Lay out the weights of 2-D convolutions channels-last, the faster order for them."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:  # Module.to would fail on those of 3-D convolutions
            tensor.data = tensor.data.to(memory_format=torch.channels_last)


def fold_batchnorms(module: nn.Module) -> nn.Module:
    """Fold each BatchNorm of a module in eval mode into the convolution before it; the module may be changed.

    They are folded where nothing else reads the tensor between them. What cannot be traced is folded piece by piece.
    """
    if not any(isinstance(part, _BatchNorm) for child in module.children() for part in child.modules()):
        return module
    try:
        traced = fx.GraphModule(module, trace(module))
    except UntraceableError:
        for name, child in module.named_children():
            module.register_module(name, fold_batchnorms(child))
        return module
    _fold(traced)
    return traced


def _fold(traced: fx.GraphModule) -> None:
    from timm import layers as timm_layers

    layers: Any = timm_layers
    uses = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        if uses[node.target] != 1 or uses[before.target] != 1:
            continue
        path, norm_path = str(before.target), str(node.target)
        convolution, norm = traced.get_submodule(path), traced.get_submodule(norm_path)
        # Other subclasses of a convolution may standardise its weight; timm's norm may have an activation inside.
        if type(convolution) not in {nn.Conv2d, layers.Conv2dSame}:
            continue
        if type(norm) not in {nn.BatchNorm2d, layers.BatchNormAct2d} or norm.running_mean is None:
            continue
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        traced.set_submodule(path, fuse_conv_bn_eval(convolution, norm))
        # timm's norm contains what follows it, a dropout and an activation; torch's contains nothing.
        traced.set_submodule(norm_path, nn.Sequential(*norm.children()))
    traced.recompile()
