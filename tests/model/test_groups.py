"""Groups: every network is sliced from its input to its head."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from ftcli.model.groups import group_network
from ftcli.model.network import Network, build_network, outline_network
from ftcli.model.order import first_uses
from ftcli.strategies import rates_of

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
    "timm/crossvit_9_240",
    "timm/efficientvim_m1",
    "timm/twins_svt_small",
    "timm/coat_lite_tiny",
    "timm/visformer_tiny",
    "timm/xcit_nano_12_p16_224",
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
    "timm/twins_svt_small": [*(f"{name}.{n}" for n in range(4) for name in ("patch_embeds", "blocks")), "head"],
    "timm/coat_lite_tiny": [
        *("stem", "serial_blocks1", "patch_embed2", "serial_blocks2", "patch_embed3", "serial_blocks3"),
        *("patch_embed4", "serial_blocks4", "head"),
    ],
    "timm/efficientvim_m1": ["patch_embed", "stages.0", "stages.1", "stages.2", "head"],
    "timm/inception_next_atto": ["stem", *(f"stages.{n}" for n in range(4)), "head.fc1", "head"],
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
    assert set(network.heads) <= set(head.modules)
    assert all(name.startswith(tuple(f"{path}." for path in network.heads)) for name in head.parameters)
    assert all(network.module.get_parameter(f"{path}.weight").shape[0] == 3 for path in network.heads)


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
    groups = group_network(network, ["head"], {})
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


@pytest.mark.parametrize(
    ("name", "group", "tensor"),
    [
        ("timm/xcit_nano_12_p16_224", "blocks.11", "cls_token"),
        ("timm/visformer_tiny", "patch_embed3", "pos_embed3"),
        ("timm/visformer_tiny", "stem", "pos_embed1"),
        ("timm/coat_lite_tiny", "patch_embed4", "cls_token4"),
        ("timm/efficientvim_m1", "stages.2", "weights"),
        ("timm/repvit_m0_9", "stages.3", "head.head.bn.weight"),
        ("timm/beit_base_patch16_224", "blocks.3", "blocks.3.attn.relative_position_bias_table"),
    ],
)
def test_a_tensor_is_in_the_group_that_uses_it_first(name, group, tensor):
    groups = {each.name: each.parameters for each in outline_network(name, classes=["a", "b"]).groups}
    assert tensor in groups[group]


class OutOfOrder(nn.Module):
    """Two blocks, registered in the wrong order, that share a table; the second runs a small layer within."""

    def __init__(self) -> None:
        super().__init__()
        self.within = nn.Conv2d(4, 4, 1)
        self.stage2 = nn.ModuleList([nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)])
        self.stage1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
        self.table = nn.Parameter(torch.ones(4, 1, 1))
        self.late = nn.Parameter(torch.ones(4, 1, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        x = self.stage1(images) + self.table
        x = self.stage2[1](self.within(self.stage2[0](x))) + self.table + self.late
        return self.head(x.mean((2, 3)))


def test_groups_are_ordered_by_execution_where_registration_differs():
    network = OutOfOrder()
    groups = group_network(network, ["head"], first_uses(network, 16))
    assert [group.name for group in groups] == ["stage1", "stage2", "head"]
    assert groups[0].parameters[0] == "table"
    assert groups[1].modules == ("stage2", "within")
    assert "late" in groups[1].parameters
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_groups_are_in_the_order_of_registration_where_images_do_not_pass():
    network = outline_network("timm/twins_svt_small", classes=["a", "b"])
    assert [group.name for group in group_network(network.module, network.heads, {})][:2] == [
        "patch_embeds",
        "blocks.0",
    ]


def test_real_and_outlined_networks_have_the_same_groups():
    outline = outline_network("timm/coat_lite_tiny", classes=["a", "b"], image_size=64)
    assert (
        build_network("timm/coat_lite_tiny", "none", classes=["a", "b"], seed=0, image_size=64).groups == outline.groups
    )


def test_a_rate_for_the_head_trains_the_new_layer_alone():
    """Modules of this body are called head.fc1 and head.norm, too."""
    names = [group.name for group in outline_network("timm/inception_next_atto", classes=["a", "b"]).groups]
    rates = rates_of({"head": 0.1}, names, key="strategy.lr")
    assert [name for name, rate in rates.items() if rate is not None] == ["head"]
    assert rates_of({"head": 0.1, "head.fc1": 0.2}, names, key="strategy.lr")["head.fc1"] == 0.2
