"""Weights: downloads, files and checkpoints are loaded completely, or an error says what to do."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest
import timm
import torch
from helpers.small_networks import small_networks
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from ftcli.errors import ModelError, WeightsUnavailableError
from ftcli.model.network import build_network, default_spec
from ftcli.model.weights import SourceWeights, load_exactly, load_weights, read_weights

CLASSES = ("ants", "bees")
NAME = "mobilenet_v3_small"


def logits(module: nn.Module) -> Tensor:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return module.eval()(images)


@pytest.fixture(scope="module")
def own() -> dict[str, Tensor]:
    """A state dict of the same classes."""
    return build_network(NAME, "none", classes=CLASSES, seed=7).module.state_dict()


@pytest.fixture(scope="module")
def original() -> dict[str, Tensor]:
    """A state dict of torchvision's own 1000 classes."""
    return models.get_model(NAME, weights=None).state_dict()


def saved(tensors: object, path: Path) -> str:
    torch.save(tensors, path)
    return str(path)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Take the network away; return the hosts that are asked for, as they are."""
    asked: list[object] = []

    def nowhere(*host: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return asked


@pytest.mark.parametrize("name", ["alexnet", "timm/test_resnet.r160_in1k", "timm/tf_efficientnet_lite0"])
def test_a_failed_download_is_reported_without_retries_and_with_advice(name, offline, capfd, caplog):
    with pytest.raises(WeightsUnavailableError) as caught:
        build_network(name, "default", classes=CLASSES, seed=0)
    assert 1 <= len(offline) <= 2, "no retries: the hub is asked once, and not again if it does not answer"
    text = str(caught.value)
    assert name in text
    assert "from https://download.pytorch.org/" in text or "from timm/" in text
    assert all(words in text for words in ("weights file", "none", "efficientnet_lite0", "checkpoints"))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("offline")
def test_default_weights_of_timm_come_from_the_hubs_cache_when_offline(tmp_path):
    tensors = timm.create_model("test_resnet").state_dict()
    repository = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(tensors, repository / "snapshots" / ("0" * 40) / "model.safetensors")
    network = build_network("timm/test_resnet.r160_in1k", "default", classes=CLASSES, seed=0)
    loaded = network.module.state_dict()
    assert all(torch.equal(loaded[key], tensors[key]) for key in loaded if not key.startswith(f"{network.heads[0]}."))
    assert "timm/test_resnet.r160_in1k" in network.notices[0]


@pytest.mark.usefixtures("offline")
def test_the_built_in_model_needs_no_download():
    assert build_network("efficientnet_lite0", "default", classes=CLASSES, seed=0).notices


def test_a_model_without_pretrained_weights_says_so():
    with pytest.raises(ModelError, match="no pretrained weights"):
        build_network("timm/resnetv2_101d", "default", classes=CLASSES, seed=0)


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1", "inception_v3", "googlenet", "densenet121"])
@small_networks()
def test_default_weights_come_from_the_download_cache(name, tmp_path, monkeypatch):
    """The file lies under the name of its address, as the library keeps it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    auxiliary = {"aux_logits": True, "init_weights": False} if name in ("inception_v3", "googlenet") else {}
    tensors = models.get_model(name, weights=None, **auxiliary).state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(tensors, folder / Path(models.get_model_weights(name).DEFAULT.url).name)
    network = build_network(name, "default", classes=CLASSES, seed=0)
    for key, tensor in network.module.state_dict().items():
        if not key.startswith(f"{network.heads[0]}."):
            assert torch.equal(tensor, tensors[key]), key
    assert "IMAGENET1K" in network.notices[0]
    blank = build_network(name, "none", classes=CLASSES, seed=0)
    assert network.module.state_dict().keys() == blank.module.state_dict().keys()
    assert network.groups == blank.groups


def test_a_damaged_file_in_the_download_cache_is_an_error_that_names_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / Path(models.AlexNet_Weights.DEFAULT.url).name).write_bytes(b"half a file")
    with pytest.raises(WeightsUnavailableError, match=str(folder)):
        build_network("alexnet", "default", classes=CLASSES, seed=0)


def test_a_copied_state_dict_gives_identical_logits(own, tmp_path):
    expected = build_network(NAME, "none", classes=CLASSES, seed=7)
    network = build_network(NAME, saved(own, tmp_path / "w.pth"), classes=CLASSES, seed=0)
    assert torch.equal(logits(network.module), logits(expected.module))
    assert "with its head" in network.notices[0]


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_wrapped_and_prefixed_state_dicts_are_understood(own, tmp_path, wrapper, prefix):
    content = {wrapper: {f"{prefix}{key}": tensor for key, tensor in own.items()}, "epoch": 3}
    network = build_network(NAME, saved(content, tmp_path / "w.pt"), classes=CLASSES, seed=0)
    assert all(torch.equal(tensor, own[key]) for key, tensor in network.module.state_dict().items())


def test_safetensors_files_are_read(own, tmp_path):
    save_file(own, tmp_path / "w.safetensors")
    network = build_network(NAME, str(tmp_path / "w.safetensors"), classes=CLASSES, seed=0)
    assert all(torch.equal(tensor, own[key]) for key, tensor in network.module.state_dict().items())


def test_a_head_of_other_classes_is_left_and_named(original, tmp_path):
    network = build_network(NAME, saved(original, tmp_path / "w.pth"), classes=CLASSES, seed=0)
    fresh = build_network(NAME, "none", classes=CLASSES, seed=0)
    assert torch.equal(network.module.get_parameter("features.0.0.weight"), original["features.0.0.weight"])
    assert torch.equal(network.module.get_parameter("classifier.0.weight"), original["classifier.0.weight"])
    assert torch.equal(
        network.module.get_parameter("classifier.3.weight"), fresh.module.get_parameter("classifier.3.weight")
    )
    assert "classifier.3.weight (1000, 1024)" in network.notices[0]


@pytest.mark.parametrize(("name", "auxiliary"), [("inception_v3", "AuxLogits"), ("googlenet", "aux1")])
def test_auxiliary_heads_in_a_file_are_left_and_named(name, auxiliary, tmp_path):
    tensors = models.get_model(name, weights=None, aux_logits=True, init_weights=False).state_dict()
    network = build_network(name, saved(tensors, tmp_path / "w.pth"), classes=CLASSES, seed=0)
    assert any(auxiliary in notice for notice in network.notices)


def test_torchvisions_older_densenet_names_are_understood(tmp_path):
    tensors = models.get_model("densenet121", weights=None).state_dict()
    older = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): t for key, t in tensors.items()}
    assert older.keys() != tensors.keys()
    network = build_network("densenet121", saved(older, tmp_path / "w.pth"), classes=CLASSES, seed=0)
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(network.module.get_parameter(key), tensors[key])


def test_missing_and_misshapen_tensors_are_counted_and_named(own, tmp_path):
    wrong = {key: tensor for key, tensor in own.items() if not key.startswith("features.1.")}
    wrong["features.0.0.weight"] = torch.zeros(16, 1, 3, 3)
    path = saved(wrong, tmp_path / "w.pth")
    with pytest.raises(ModelError) as caught:
        build_network(NAME, path, classes=CLASSES, seed=0)
    text = str(caught.value)
    assert path in text
    assert "features.1.block.0.0.weight" in text
    assert "and " in text
    assert "features.0.0.weight (16, 1, 3, 3) instead of (16, 3, 3, 3)" in text


def test_the_weights_of_another_model_are_refused(own, tmp_path):
    with pytest.raises(ModelError, match="tensors are missing"):
        build_network("resnet18", saved(own, tmp_path / "w.pth"), classes=CLASSES, seed=0)


def test_superfluous_tensors_are_named(own, tmp_path):
    path = saved(own | {"extra.weight": torch.zeros(1)}, tmp_path / "w.pth")
    notices = build_network(NAME, path, classes=CLASSES, seed=0).notices
    assert any("extra.weight" in notice for notice in notices)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_code_in_a_weights_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved({"state_dict": Malicious()}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="does not run"):
        build_network(NAME, path, classes=CLASSES, seed=0)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(ModelError, match="does not run"):
        build_network(NAME, "plain.pth", classes=CLASSES, seed=0)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin"])
@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x80\x02}", b"PK\x03\x04 not a zip"])
def test_a_file_that_is_not_weights_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        build_network(NAME, str(tmp_path / name), classes=CLASSES, seed=0)
    assert name in str(caught.value)
    assert caught.value.hint


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        build_network(NAME, "defualt", classes=CLASSES, seed=0)
    with pytest.raises(ModelError, match="is a folder"):
        build_network(NAME, str(tmp_path), classes=CLASSES, seed=0)


@pytest.mark.parametrize("content", [{}, [1, 2], {"state_dict": {}}, torch.zeros(3)])
def test_a_file_without_named_tensors_is_refused(content, tmp_path):
    with pytest.raises(ModelError, match="no named tensors"):
        build_network(NAME, saved(content, tmp_path / "w.pth"), classes=CLASSES, seed=0)


def test_a_checkpoint_of_the_same_classes_brings_its_head(own):
    source = SourceWeights(own, classes=CLASSES, spec=default_spec(NAME), origin="runs/first")
    network = build_network(NAME, "runs/first", classes=CLASSES, seed=0, source=source)
    assert all(torch.equal(tensor, own[key]) for key, tensor in network.module.state_dict().items())
    assert "with its head" in network.notices[0]


@pytest.mark.parametrize("classes", [("bees", "ants"), ("ants", "wasps"), None])
def test_a_checkpoint_of_other_classes_leaves_its_head(own, classes):
    source = SourceWeights(own, classes=classes, spec=None, origin="runs/first")
    network = build_network(NAME, "runs/first", classes=CLASSES, seed=0, source=source)
    assert torch.equal(network.module.get_parameter("classifier.0.weight"), own["classifier.0.weight"])
    assert not torch.equal(network.module.get_parameter("classifier.3.weight"), own["classifier.3.weight"])
    assert any("runs/first" in notice and "classes" in notice for notice in network.notices)


def test_a_checkpoint_keeps_its_image_size_unless_the_recipe_says_another(own):
    source = SourceWeights(own, classes=CLASSES, spec=default_spec(NAME).resized(160), origin="runs/first")
    assert build_network(NAME, "x", classes=CLASSES, seed=0, source=source).spec.image_size == 160
    smaller = build_network(NAME, "x", classes=CLASSES, seed=0, source=source, image_size=96)
    assert smaller.spec.image_size == 96


def test_mnasnets_which_convert_older_weights_while_they_load_take_their_own(tmp_path):
    tensors = dict(build_network("mnasnet0_5", "none", classes=CLASSES, seed=7).module.state_dict())
    save_file(tensors, tmp_path / "w.safetensors")
    network = build_network("mnasnet0_5", str(tmp_path / "w.safetensors"), classes=CLASSES, seed=0)
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in network.module.state_dict().items())
    network = build_network("mnasnet0_5", "none", classes=CLASSES, seed=0)
    load_exactly(network.module, tensors, origin="file")
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in network.module.state_dict().items())


def test_integers_are_not_taken_for_weights():
    network = nn.Linear(2, 2)
    tensors = {"weight": torch.ones(2, 2, dtype=torch.int32), "bias": torch.ones(2, dtype=torch.float16)}
    with pytest.raises(ModelError, match=r"1 of 2 tensors are not floating-point numbers: weight int32"):
        load_exactly(network, tensors, origin="file")


def test_a_file_that_ends_within_a_pickled_number_is_not_a_weights_file(tmp_path):
    (tmp_path / "cut.bin").write_bytes(b"\x80\x02X\x01\x00")
    with pytest.raises(ModelError, match="not a weights file"):
        read_weights(tmp_path / "cut.bin")


def test_all_classifiers_of_a_file_are_loaded_or_none():
    network = nn.ModuleDict({name: nn.Linear(4, 3) for name in ("body", "head", "head_dist")})
    tensors = {name: torch.ones_like(tensor) for name, tensor in network.state_dict().items()}
    other = tensors | {"head_dist.weight": torch.ones(5, 4), "head_dist.bias": torch.ones(5)}
    before = network["head"].weight.clone()
    (notice,) = load_weights(network, other, heads=("head", "head_dist"), origin="x")
    assert "head_dist.weight (5, 4)" in notice
    assert torch.equal(network["body"].weight, torch.ones(3, 4))
    assert torch.equal(network["head"].weight, before)
    load_weights(network, tensors, heads=("head", "head_dist"), origin="x")
    assert torch.equal(network["head_dist"].weight, torch.ones(3, 4))
