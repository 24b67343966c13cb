"""Networks: names, inputs, seeds, heads, sizes."""

from __future__ import annotations

import re

import pytest
import torch
from helpers.small_networks import small_networks
from torch import Tensor, nn

from ftcli.errors import ModelError
from ftcli.model.network import (
    build_network,
    check_image_size,
    default_spec,
    fitting_outline,
    model_names,
    outline_network,
    restore_network,
)

CLASSES = ("ants", "bees", "wasps")


def logits(module: nn.Module, size: int = 64) -> Tensor:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return module.eval()(images)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("resnet81", "resnet18"),
        ("vit_tiny_patch16_224", "timm/vit_tiny_patch16_224"),
        ("timm/inception_v9", "timm/inception_v3"),
        ("timm/googlenet", "googlenet"),
        ("efficientnet_lite", "efficientnet_lite0"),
        ("timm/resnet18.a9_in1k", "timm/resnet18.a1_in1k"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_ones(wrong, right):
    with pytest.raises(ModelError, match=wrong) as caught:
        build_network(wrong, "no-such-file.pth", classes=CLASSES, seed=0)
    assert right in caught.value.hint


def test_all_models_are_listed_once():
    names = model_names()
    assert {"resnet18", "efficientnet_lite0", "timm/resnet18", "inception_v3"} <= set(names)
    assert len(set(names)) == len(names)
    assert len(names) > 1000


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_16", "efficientnet_lite0", "timm/test_vit"])
def test_random_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone(name):
    before = torch.get_rng_state()
    with small_networks():
        first = build_network(name, "none", classes=CLASSES, seed=3).module.state_dict()
        assert torch.equal(before, torch.get_rng_state())
        torch.rand(1)
        again = build_network(name, "none", classes=CLASSES, seed=3).module.state_dict()
        other = build_network(name, "none", classes=CLASSES, seed=4).module.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_head_depends_on_the_seed_and_not_on_the_weights():
    pretrained = build_network("efficientnet_lite0", "default", classes=CLASSES, seed=5)
    random = build_network("efficientnet_lite0", "none", classes=CLASSES, seed=5)
    other = build_network("efficientnet_lite0", "default", classes=CLASSES, seed=6)
    head = f"{random.heads[0]}.weight"
    assert torch.equal(pretrained.module.get_parameter(head), random.module.get_parameter(head))
    assert not torch.equal(pretrained.module.get_parameter(head), other.module.get_parameter(head))


def test_a_convolutional_head_is_replaced_by_a_convolution():
    network = build_network("squeezenet1_1", "none", classes=CLASSES, seed=0)
    head = network.module.get_submodule(network.heads[0])
    assert isinstance(head, nn.Conv2d)
    assert network.heads[0] == "classifier.1"
    assert logits(network.module).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("timm/deit_tiny_distilled_patch16_224", ("head", "head_dist")),
        ("timm/pit_ti_distilled_224", ("head", "head_dist")),
        ("timm/swiftformer_xs", ("head", "head_dist")),
        ("timm/efficientformer_l1", ("head", "head_dist")),
        ("timm/efficientformerv2_s0", ("head", "head_dist")),
        ("timm/levit_128s", ("head.linear", "head_dist.linear")),
        ("timm/levit_384_s8", ("head.linear", "head_dist.linear")),
        ("timm/repvit_m0_9", ("head.head.l", "head.head_dist.l")),
        ("timm/iformer_m_distilled", ("head.head.l", "head.head_dist.l")),
        ("timm/crossvit_9_240", ("head.0", "head.1")),
        ("timm/volo_d1_224", ("aux_head", "head")),
        ("timm/efficientvim_m1_dist", tuple(f"{name}.{n}" for name in ("heads", "heads_dist") for n in range(4))),
    ],
)
def test_every_classifier_of_a_network_is_replaced_and_its_forward_combines_them(name, heads):
    network = outline_network(name, classes=CLASSES)
    assert network.heads == heads
    assert all(network.module.get_parameter(f"{head}.weight").shape[0] == 3 for head in heads)
    assert network.groups[-1].parameters == tuple(f"{head}.{kind}" for head in heads for kind in ("weight", "bias"))
    size = network.spec.image_size
    for training in (True, False):
        network.module.train(training)
        assert network.module(torch.empty(2, 3, size, size, device="meta")).shape == (2, 3)


def test_the_new_layers_of_one_network_differ_and_are_trained_alike():
    network = build_network("timm/efficientformerv2_s0", "none", classes=CLASSES, seed=0, image_size=64)
    first, second = (network.module.get_submodule(head) for head in network.heads)
    assert not torch.equal(first.weight, second.weight)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    network.module.eval()
    features = network.module.forward_head(network.module.forward_features(images), pre_logits=True)
    assert torch.allclose(network.module(images), (first(features) + second(features)) / 2, atol=1e-6)


def test_a_model_that_is_only_an_encoder_is_refused():
    with pytest.raises(ModelError, match="no classifier"):
        outline_network("timm/mobilenetv5_300m_enc", classes=CLASSES)


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_auxiliary_heads_are_gone_and_the_input_transform_is_always_on(name):
    network = outline_network(name, classes=CLASSES)
    assert network.module.transform_input is True
    assert not any("aux" in key.lower() for key, _ in network.module.named_parameters())


def test_an_outline_holds_no_data_and_has_the_groups_of_the_real_network():
    outline = outline_network("resnet50", classes=CLASSES)
    assert all(tensor.is_meta for tensor in outline.module.state_dict().values())
    assert outline.groups == build_network("resnet50", "none", classes=CLASSES, seed=0).groups


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "efficientnet_lite0", "timm/test_vit", "googlenet"])
def test_a_restored_network_gives_identical_logits(name):
    size = 96
    before = torch.get_rng_state()
    with small_networks():
        network = build_network(name, "none", classes=CLASSES, seed=0, image_size=size)
        tensors = network.module.state_dict()
        restored = restore_network(name, classes=CLASSES, spec=network.spec, state_dict=tensors, origin="x")
    assert torch.equal(before, torch.get_rng_state())
    assert restored.groups == network.groups
    assert torch.equal(logits(restored.module, size), logits(network.module, size))


def test_restoring_refuses_tensors_of_another_head():
    network = build_network("resnet18", "none", classes=CLASSES, seed=0)
    tensors = network.module.state_dict()
    with pytest.raises(ModelError, match=r"^best\.safetensors: .*fc\.weight \(3, 512\) instead of \(2, 512\)"):
        restore_network(
            "resnet18", classes=CLASSES[:2], spec=network.spec, state_dict=tensors, origin="best.safetensors"
        )


def test_restoring_refuses_a_superfluous_tensor():
    network = build_network("resnet18", "none", classes=CLASSES, seed=0)
    tensors = network.module.state_dict() | {"layer5.weight": torch.zeros(1)}
    with pytest.raises(ModelError, match=r"layer5\.weight"):
        restore_network("resnet18", classes=CLASSES, spec=network.spec, state_dict=tensors, origin="x")


def test_inputs_are_those_of_the_default_weights():
    resnet = default_spec("resnet50")
    assert (resnet.image_size, resnet.resize_size, resnet.interpolation) == (224, 232, "bilinear")
    assert resnet.mean == (0.485, 0.456, 0.406)
    assert default_spec("inception_v3").image_size == 299
    assert default_spec("vit_h_14").image_size == 518
    tiny = default_spec("timm/vit_tiny_patch16_224")
    assert (tiny.resize_size, tiny.interpolation, tiny.mean) == (248, "bicubic", (0.5, 0.5, 0.5))
    assert default_spec("timm/convnext_tiny.fb_in22k_ft_in1k_384").squash


def test_an_input_that_is_not_square_is_refused():
    with pytest.raises(ModelError, match="square RGB"):
        default_spec("timm/vit_base_patch16_sapiens2")


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_b_32", "timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224", "swin_t"]
)
def test_another_image_size_is_taken_where_the_library_can(name):
    network = outline_network(name, classes=CLASSES, image_size=192)
    assert network.spec.image_size == 192
    network.module.eval()
    with torch.no_grad():
        assert network.module(torch.empty(1, 3, 192, 192, device="meta")).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "weights", "image_size"),
    [("vit_b_16", "default", 192), ("vit_b_16", "none", 100), ("maxvit_t", "none", 100), ("maxvit_t", "default", 256)],
)
def test_an_image_size_that_does_not_fit_names_the_key(name, weights, image_size):
    with pytest.raises(ModelError, match=r"data\.image_size") as caught:
        build_network(name, weights, classes=CLASSES, seed=0, image_size=image_size)
    assert "224" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrong", "fitting"),
    [
        ("vit_b_16", 100, {96, 112, 224}),
        ("timm/levit_128s", 100, {96, 112, 224}),
        ("timm/efficientformer_l1", 256, {224}),
        ("timm/gcvit_xxtiny", 250, {224, 256}),
    ],
)
def test_a_size_that_does_not_pass_is_refused_with_those_that_do(name, wrong, fitting):
    with pytest.raises(ModelError) as caught:
        fitting_outline(name, classes=CLASSES, image_size=wrong)
    assert caught.value.where == "data.image_size"
    named = {int(number) for number in re.findall(r"\d+", caught.value.hint)}
    assert fitting <= named
    for size in named:
        assert fitting_outline(name, classes=CLASSES, image_size=size).spec.image_size == size


def test_a_size_whose_positions_are_not_in_the_tables_is_refused():
    """Tensors without values do not show it."""
    network = build_network("timm/mvitv2_tiny", "none", classes=CLASSES, seed=0, image_size=100)
    with pytest.raises(ModelError, match="100 px") as caught:
        check_image_size(network)
    assert "224" in caught.value.hint


@pytest.mark.parametrize("name", ["resnet18", "timm/swin_tiny_patch4_window7_224"])
def test_a_network_of_any_size_is_outlined(name):
    assert fitting_outline(name, classes=CLASSES, image_size=100).spec.image_size == 100
    assert fitting_outline(name, classes=CLASSES, image_size=None).spec.image_size == 224
