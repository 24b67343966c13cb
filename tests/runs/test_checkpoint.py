import math
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ftcli.errors import CheckpointError, RunError
from ftcli.model.network import Network, build_network
from ftcli.records import InputSpec
from ftcli.runs.checkpoint import (
    CheckpointInfo,
    check_saved,
    check_saving,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)

SPEC = InputSpec(32, 36, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
INFO = CheckpointInfo("resnet18", ("a", "b\udcff"), SPEC, {"data": {"root": "x"}}, 3, {"loss": 0.5})
TENSORS = {
    "weight": torch.arange(12.0).reshape(3, 4).t(),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "scalar": torch.tensor(5),
    "empty": torch.zeros(0, 3),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "a.safetensors", TENSORS, INFO)
    return tmp_path / "a.safetensors"


def described(file: Path, **changes: Any) -> None:
    """Write a checkpoint with a changed description and a checksum that fits it."""
    description, tensors = load_tensors(file)
    save_tensors(file, tensors, {**description, **changes})


def test_a_checkpoint_reads_back_unchanged(file: Path) -> None:
    back = load_checkpoint(file)
    assert back.info == INFO
    assert back.state_dict.keys() == TENSORS.keys()
    assert all(torch.equal(back.state_dict[name], tensor) for name, tensor in TENSORS.items())
    assert all(back.state_dict[name].dtype == tensor.dtype for name, tensor in TENSORS.items())


def test_equal_tensors_and_descriptions_give_equal_bytes() -> None:
    tensors = {"weight": torch.arange(3.0), "größe": torch.ones(2, dtype=torch.int64), "flag": torch.tensor([True])}
    contents = set()
    for _ in range(20):
        save_tensors(Path("file.safetensors"), tensors, {"b": 'quoted "ö"', "a": 1})
        contents.add(Path("file.safetensors").read_bytes())
    (content,) = contents
    assert int.from_bytes(content[:8], "little") % 8 == 0
    description, read = load_tensors(Path("file.safetensors"))
    assert description["b"] == 'quoted "ö"'
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_one_tensor_under_two_names_and_views_of_one_storage_are_written_whole(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    tensors = {"a": whole, "b": whole, "first": whole[:3], "rest": whole[3:]}
    save_tensors(tmp_path / "file.safetensors", tensors, {})
    _, read = load_tensors(tmp_path / "file.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


@pytest.fixture(scope="module")
def network() -> Network:
    return build_network("timm/test_resnet", "none", classes=["ants", "bees"], seed=0, image_size=32)


def written(network: Network, folder: Path) -> Path:
    info = replace(INFO, model=network.name, classes=network.classes, spec=network.spec)
    save_checkpoint(folder / "last.safetensors", network.module.state_dict(), info)
    return folder / "last.safetensors"


def test_a_checkpoint_that_holds_the_network_is_kept(network: Network, tmp_path: Path) -> None:
    check_saving(network)
    path = written(network, tmp_path)
    check_saved(path, network)
    assert path.is_file()


@pytest.mark.parametrize("damage", ["bits", "weights", "names"])
def test_a_checkpoint_that_cannot_be_read_back_is_removed(network: Network, tmp_path: Path, damage: str) -> None:
    path = written(network, tmp_path)
    tensors = dict(load_tensors(path)[1])
    name = f"{network.heads[0]}.bias"
    if damage == "bits":
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "weights":
        save_checkpoint(path, {**tensors, name: tensors[name] + 1e-7}, load_checkpoint(path).info)
    else:
        save_checkpoint(path, {**tensors, "other": tensors.pop(name)}, load_checkpoint(path).info)
    with pytest.raises(RunError) as caught:
        check_saved(path, network)
    assert caught.value.where == str(path)
    assert not path.exists()


def test_a_network_that_is_not_built_from_its_name_is_refused_before_it_is_saved(network: Network) -> None:
    with pytest.raises(RunError) as caught:
        check_saving(replace(network, name="resnet18"))
    assert caught.value.where == "resnet18"


def test_a_flipped_bit_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        file.write_bytes(content)
        with suppress(CheckpointError):
            back = load_checkpoint(file)
            assert back.info == INFO, "only spaces of the header may change unnoticed"
            assert all(torch.equal(back.state_dict[name], tensor) for name, tensor in TENSORS.items())


def test_a_file_cut_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(file)
        assert caught.value.where == str(file)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"format": 2}, "format 2;"),
        ({"format": None}, "format None;"),
        ({"classes": "ab"}, "classes:"),
        ({"classes": ["a", "a"]}, "classes:"),
        ({"classes": [1, 2]}, "classes:"),
        ({"epoch": "3"}, "epoch: .*integer"),
        ({"recipe": []}, "recipe: .*object"),
        ({"val": {"loss": "x"}}, "val.loss: .*number"),
        ({"spec": {**asdict(SPEC), "image_size": 10**9}}, "1000000000 pixels"),
        ({"spec": {**asdict(SPEC), "std": [1, 0, 1]}}, "std:"),
        ({"spec": {**asdict(SPEC), "interpolation": "lanczos"}}, "interpolation: "),
    ],
)
def test_an_invalid_description_is_refused(file: Path, changes: dict[str, Any], part: str) -> None:
    described(file, **changes)
    with pytest.raises(CheckpointError, match=part) as caught:
        load_checkpoint(file)
    assert caught.value.where == str(file)


def test_an_infinite_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        CheckpointInfo.from_json({**asdict(INFO), "epoch": math.inf})


def test_a_description_of_other_weights_is_refused(file: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, file, {**metadata, "ftcli": metadata["ftcli"].replace("resnet18", "resnet34")})
    with pytest.raises(CheckpointError, match="checksum") as caught:
        load_checkpoint(file)
    assert caught.value.where == str(file)


def test_a_device_is_refused_as_a_checkpoint() -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(Path("/dev/zero"))
    assert caught.value.where == "/dev/zero"
