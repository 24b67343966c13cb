from typing import get_args

import pytest
import timm
import torch
import torchvision
from torch import nn

from ftcli.engine.optimizers import OPTIMIZERS, annealing_epochs, decayed, make_optimizer, rate_factor, set_rates
from ftcli.model.network import Network, build_network
from ftcli.recipe.keys import Adam, AdamW, Constant, Cosine, Optimizer, Schedule, Sgd, Step


@pytest.fixture(scope="module")
def network() -> Network:
    return build_network("resnet18", "none", classes=("a", "b"), seed=0, image_size=32)


def lr_of(network: Network, **rates: float) -> dict[str, float | None]:
    return {group.name: rates.get(group.name) for group in network.groups}


@pytest.mark.parametrize(
    "section",
    [Sgd(kind="sgd", weight_decay=0.1), Adam(kind="adam", weight_decay=0.1), AdamW(kind="adamw", weight_decay=0.1)],
)
def test_norms_and_biases_have_no_weight_decay(network: Network, section: Optimizer) -> None:
    optimizer = make_optimizer(network, lr_of(network, layer4=0.1, head=0.2), section)
    decayed = {id(tensor) for entry in optimizer.param_groups if entry["weight_decay"] for tensor in entry["params"]}
    every = {id(tensor) for entry in optimizer.param_groups for tensor in entry["params"]}
    for name, tensor in network.module.named_parameters():
        if name.startswith(("layer4", "fc")):
            assert id(tensor) in every
            assert (id(tensor) in decayed) == (tensor.ndim > 1), name
        else:
            assert id(tensor) not in every


@pytest.mark.parametrize(
    ("name", "never", "always"),
    [
        ("convnext_tiny", ("layer_scale",), ("features.1.0.block.0.weight", "features.2.1.weight")),
        (
            "vit_b_16",
            ("class_token", "pos_embedding"),
            ("self_attention.in_proj_weight", "mlp.0.weight", "conv_proj.weight"),
        ),
        ("swin_v2_t", ("logit_scale",), ("attn.qkv.weight",)),
        ("swin_t", ("relative_position_bias_table",), ("attn.qkv.weight", "reduction.weight")),
        ("timm/levit_128s", ("attention_biases",), ("attn.qkv.linear.weight",)),
        ("timm/swinv2_tiny_window8_256", ("cpb_mlp",), ("attn.qkv.weight",)),
    ],
)
def test_weight_decay_goes_by_what_a_tensor_is(name: str, never: tuple[str, ...], always: tuple[str, ...]) -> None:
    """`cpb_mlp` are matrices of layers, which this network of timm itself exempts."""
    with torch.device("meta"):
        module = (
            timm.create_model(name[5:]) if name.startswith("timm/") else torchvision.models.get_model(name)
        ).eval()
    chosen = decayed(module)
    for part in never:
        tables = [each for each, _ in module.named_parameters() if part in each]
        assert tables
        assert not chosen & set(tables)
    for part in always:
        assert [each for each in chosen if each.endswith(part)], part
    assert not any(each.endswith("bias") for each in chosen)


def test_a_table_of_embeddings_has_no_weight_decay() -> None:
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    assert decayed(module) == {"1.weight"}


def test_every_group_has_its_own_rate(network: Network) -> None:
    optimizer = make_optimizer(network, lr_of(network, layer4=0.1, head=0.2), Sgd(kind="sgd"))
    set_rates(optimizer, 0.5)
    assert {(entry["name"], entry["lr"]) for entry in optimizer.param_groups} == {("layer4", 0.05), ("head", 0.1)}


@pytest.mark.parametrize(
    ("section", "kind", "settings"),
    [
        (Sgd(kind="sgd", momentum=0.5, nesterov=True), torch.optim.SGD, {"momentum": 0.5, "nesterov": True}),
        (Adam(kind="adam", betas=(0.8, 0.9)), torch.optim.Adam, {"betas": (0.8, 0.9)}),
        (AdamW(kind="adamw", betas=(0.8, 0.9)), torch.optim.AdamW, {"betas": (0.8, 0.9)}),
    ],
)
def test_the_recipe_s_settings_reach_the_optimizer(
    network: Network, section: Optimizer, kind: type, settings: dict[str, object]
) -> None:
    optimizer = make_optimizer(network, lr_of(network, head=0.2), section)
    assert type(optimizer) is kind
    assert settings.items() <= optimizer.param_groups[0].items()


def test_every_optimizer_of_the_recipe_has_its_row() -> None:
    sections, _ = get_args(Optimizer)
    assert set(OPTIMIZERS) == set(get_args(sections))


def factors(schedule: Schedule, *, epochs: int, steps: int = 4) -> list[float]:
    return [rate_factor(schedule, step=step, steps_per_epoch=steps, epochs=epochs) for step in range(epochs * steps)]


def test_cosine_falls_from_one_to_nearly_nothing() -> None:
    values = factors(Cosine(kind="cosine"), epochs=5)
    assert values[0] == 1
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 0.01
    assert values[10] == pytest.approx(0.5)


def test_a_cosine_falls_to_nearly_nothing_in_the_two_epochs_after_patience() -> None:
    def after(exhausted: int, *, epochs: int) -> list[float]:
        steps = range(exhausted * 10, min(exhausted + 2, epochs) * 10)
        cosine = Cosine(kind="cosine")
        return [
            rate_factor(cosine, step=step, steps_per_epoch=10, epochs=epochs, exhausted_after=exhausted)
            for step in steps
        ]

    usual = factors(Cosine(kind="cosine"), epochs=20, steps=10)
    values = after(5, epochs=20)
    assert len(values) == 20
    assert values[0] == usual[50]
    assert values == sorted(values, reverse=True)
    assert values[10] == pytest.approx(usual[50] / 2)
    assert 0 < values[-1] < 0.01
    assert after(19, epochs=20)[-1] < 0.001, "one epoch is left"


def test_other_schedules_have_nothing_to_anneal() -> None:
    for schedule in (Constant(kind="constant"), Step(kind="step")):
        assert annealing_epochs(schedule) == 0
        assert rate_factor(schedule, step=3, steps_per_epoch=2, epochs=9, exhausted_after=1) == 1


def test_warm_up_rises_linearly_and_then_the_schedule_begins() -> None:
    values = factors(Cosine(kind="cosine", warmup_epochs=1), epochs=3)
    assert values[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert values[4] == 1
    assert values[-1] < 0.05


def test_a_constant_rate_stays() -> None:
    assert set(factors(Constant(kind="constant"), epochs=3)) == {1.0}


def test_steps_fall_every_few_epochs() -> None:
    values = factors(Step(kind="step", step_epochs=2, gamma=0.1), epochs=5, steps=2)
    assert values == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
