"""Groups: every network is sliced from its input to its head."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from ftcli.model.groups import group_network
from ftcli.model.network import Network, outline_network

NAMES = (
    "resnet18",
    "resnet50",
    "vgg16",
    "vgg16_bn",
    "alexnet",
    "densenet121",
    "squeezenet1_1",
    "mobilenet_v3_large",
    "mnasnet1_0",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "efficientnet_lite0",
    "convnext_tiny",
    "regnet_y_400mf",
    "maxvit_t",
    "vit_b_16",
    "swin_t",
    "inception_v3",
    "googlenet",
    "timm/resnet18",
    "timm/resnet50d",
    "timm/tf_efficientnet_lite0",
    "timm/vit_tiny_patch16_224",
    "timm/convnext_atto",
    "timm/mobilenetv3_small_100",
    "timm/vgg11",
    "timm/fastvit_t8",
    "timm/inception_v4",
    "timm/vit_small_patch14_dinov2",
)

EXPECTED = {
    "resnet18": ["stem", "layer1", "layer2", "layer3", "layer4", "head"],
    "timm/resnet50d": ["stem", "layer1", "layer2", "layer3", "layer4", "head"],
    "mobilenet_v3_large": [*(f"features.{n}" for n in range(17)), "classifier.0", "head"],
    "efficientnet_lite0": ["stem", *(f"blocks.{n}" for n in range(7)), "conv_head", "head"],
    "densenet121": [
        "stem",
        *(f"features.{kind}{n}" for n in (1, 2, 3) for kind in ("denseblock", "transition")),
        "features.denseblock4",
        "head",
    ],
    "swin_t": [*(f"features.{n}" for n in range(8)), "head"],
    "vit_b_16": ["stem", *(f"encoder.layers.encoder_layer_{n}" for n in range(12)), "head"],
    "timm/vit_tiny_patch16_224": ["stem", *(f"blocks.{n}" for n in range(12)), "head"],
    "alexnet": [*(f"features.{n}" for n in (0, 3, 6, 8, 10)), "classifier.1", "classifier.4", "head"],
    "vgg16_bn": [
        *(f"features.{n}" for n in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)),
        "classifier.0",
        "classifier.3",
        "head",
    ],
    "squeezenet1_1": [*(f"features.{n}" for n in (0, 3, 4, 6, 7, 9, 10, 11, 12)), "head"],
    "regnet_y_400mf": ["stem", *(f"trunk_output.block{n}" for n in (1, 2, 3, 4)), "head"],
    "timm/convnext_atto": ["stem", *(f"stages.{n}" for n in range(4)), "head"],
    "googlenet": [
        "stem",
        *(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")),
        "head",
    ],
}


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return outline_network(request.param, classes=["ants", "bees", "wasps"])


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_have_the_names_of_the_design(name):
    network = outline_network(name, classes=["ants", "bees"])
    assert [group.name for group in network.groups] == EXPECTED[name]


def test_every_tensor_is_in_exactly_one_group(network):
    parameters = [name for group in network.groups for name in group.parameters]
    buffers = [name for group in network.groups for name in group.buffers]
    assert sorted(parameters) == sorted(name for name, _ in network.module.named_parameters())
    assert sorted(buffers) == sorted(name for name, _ in network.module.named_buffers())


def test_every_leaf_module_is_in_exactly_one_group(network):
    modules = [path for group in network.groups for path in group.modules]
    for leaf, module in network.module.named_modules():
        if not any(module.children()):
            assert sum(leaf == path or leaf.startswith(f"{path}.") for path in modules) == 1, leaf


def test_the_last_group_is_the_new_layer_and_nothing_else(network):
    head = network.groups[-1]
    assert head.name == "head"
    assert network.head in head.modules
    assert all(name.startswith(f"{network.head}.") for name in head.parameters)
    assert network.module.get_parameter(f"{network.head}.weight").shape[0] == 3


def test_every_group_has_parameters_and_counts_them(network):
    counts = network.parameter_counts
    assert len(counts) == len(network.groups)
    assert all(counts.values())
    assert sum(counts.values()) == sum(p.numel() for p in network.module.parameters())


def test_groups_run_from_the_input_to_the_head(network):
    """Leaf modules with tensors run in the order of their groups, without going back."""
    ran: list[int] = []
    for number, group in enumerate(network.groups):
        for path in {name.rpartition(".")[0] for name in group.parameters} - {""}:
            module = network.module.get_submodule(path)
            module.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
    size = network.spec.image_size
    network.module.eval()
    with torch.no_grad():
        scores = network.module(torch.empty(1, 3, size, size, device="meta"))
    assert scores.shape == (1, 3)
    # A wrapper such as a vision transformer's encoder owns a bare tensor of the stem and is entered after it.
    assert ran == sorted(ran)
    assert ran[-1] == len(network.groups) - 1


def test_no_group_but_a_stage_or_classifier_dwarfs_the_rest(network):
    assert len(network.groups) >= 5


def test_a_layer_registered_after_the_head_comes_before_it():
    network = nn.Sequential(
        OrderedDict(block=nn.Conv2d(3, 4, 3), head=nn.Linear(4, 2), late=nn.Linear(4, 4), flatten=nn.Flatten())
    )
    groups = group_network(network, "head")
    assert [group.modules for group in groups] == [("block",), ("late",), ("head", "flatten")]


def test_bare_tensors_of_a_transformer_are_in_its_stem():
    stem = outline_network("vit_b_16", classes=["a", "b"]).groups[0]
    assert {"class_token", "conv_proj.weight", "encoder.pos_embedding"} <= set(stem.parameters)


def test_a_lone_norm_joins_the_group_before_it():
    densenet = {group.name: group for group in outline_network("densenet121", classes=["a", "b"]).groups}
    assert "features.norm5" in densenet["features.denseblock4"].modules
    convnext = {group.name: group for group in outline_network("convnext_tiny", classes=["a", "b"]).groups}
    assert "classifier.0" in convnext["features.7"].modules
    transformer = outline_network("timm/vit_tiny_patch16_224", classes=["a", "b"]).groups
    assert "norm" in transformer[-2].modules
