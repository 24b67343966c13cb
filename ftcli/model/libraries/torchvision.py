"""torchvision's classification models: names, input, architecture and weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ftcli.errors import ModelError
from ftcli.model.downloads import downloading, is_downloaded
from ftcli.records import InputSpec

_WITH_AUXILIARY_HEADS = ("inception_v3", "googlenet")


def names() -> tuple[str, ...]:
    """Return the names of all classification models."""
    from torchvision import models

    return tuple(models.list_models(module=models))


def spec(name: str) -> InputSpec:
    """Return the input that the default weights were trained for."""
    preset = _default_weights(name).transforms()  # a description; nothing is downloaded
    return InputSpec(
        image_size=preset.crop_size[0],
        resize_size=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def blank(name: str, *, image_size: int) -> nn.Module:
    """Return the architecture with random weights."""
    from torchvision import models

    arguments = _sized(name, image_size)
    if name in _WITH_AUXILIARY_HEADS:
        # Fixed, so that a name means one function, which a checkpoint rebuilds: by default, torchvision builds these
        # two with auxiliary heads, which a dataset of other classes cannot use, and sets `transform_input` for
        # pretrained weights only.
        arguments |= {"aux_logits": False, "transform_input": True, "init_weights": True}
    numbers = _RealNumbers() if name.startswith("regnet") else nullcontext()
    with warnings.catch_warnings(action="ignore"), numbers:
        try:
            network: nn.Module = models.get_model(name, weights=None, **arguments)
        except (AssertionError, ValueError, RuntimeError) as error:
            if not _sized(name, image_size):
                raise
            raise _wrong_size(name, image_size, str(error)) from error
    return network


def pretrained(name: str, *, image_size: int) -> nn.Module:
    """Return the architecture with the default weights, downloading them where they are not in the cache.

    Raises ModelError where the weights are for one image size only, and WeightsUnavailableError.
    """
    from torchvision import models

    weights = _default_weights(name)
    own_size = spec(name).image_size
    if _sized(name, image_size) and image_size != own_size:
        raise _wrong_size(name, image_size, f"its default weights are for {own_size} pixels")
    with downloading(name, weights.url):
        network: nn.Module = models.get_model(name, weights=weights, progress=False)
    if name in _WITH_AUXILIARY_HEADS:
        # The builder requires them while it loads; without them, the network is what `blank` builds.
        for attribute, value in {"aux_logits": False, "AuxLogits": None, "aux1": None, "aux2": None}.items():
            if hasattr(network, attribute):
                setattr(network, attribute, value)
    return network


def at_hand(name: str) -> bool:
    """Return whether the default weights are on this machine."""
    return is_downloaded(url=_default_weights(name).url)


def origin(name: str) -> str:
    """Return which weights the default ones are."""
    return f"torchvision weights {_default_weights(name)}"


def heads(name: str, network: nn.Module) -> tuple[str, ...]:
    """Return the path of the last linear layer or 1x1 convolution, the only classifier."""
    layers: list[str] = [path for path, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert layers, f"{name} has no layers"
    return (layers[-1],)


def translate(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors as torchvision does when it loads its own older files: `norm.1` of DenseNets is `norm1`."""
    if not name.startswith("densenet"):
        return dict(tensors)
    pattern = r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"
    return {re.sub(pattern, r"\1\2", key): tensor for key, tensor in tensors.items()}


class _RealNumbers(TorchFunctionMode):
    """Keep plain numbers off the meta device: RegNets compute their widths and depths with tensors."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func`, on the CPU if it makes a tensor from numbers."""
        del types
        device = {"device": "cpu"} if func in (torch.arange, torch.tensor) else {}
        return func(*args, **(device | dict(kwargs or {})))


def _default_weights(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _sized(name: str, image_size: int) -> dict[str, Any]:
    """Return the argument that sets the input size, for the families that are built for one size."""
    if name.startswith("vit_"):
        return {"image_size": image_size}
    if name.startswith("maxvit_"):
        return {"input_size": (image_size, image_size)}
    return {}


def _wrong_size(name: str, image_size: int, reason: str) -> ModelError:
    message = f"data.image_size {image_size} does not fit {name}: {reason}"
    return ModelError(message, hint=f"Set data.image_size to {spec(name).image_size}, or choose another model.")
