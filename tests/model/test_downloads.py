from pathlib import Path

import pytest

from ftcli.model.downloads import cache_directories, is_downloaded
from ftcli.model.libraries import efficientnet_lite0, timm, torchvision


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_downloads_are_where_the_environment_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directories() == (home / "torch/hub/checkpoints", home / "huggingface/hub")
    monkeypatch.setenv("TORCH_HOME", str(home / "t"))
    monkeypatch.setenv("HF_HOME", str(home / "h"))
    assert cache_directories() == (home / "t/hub/checkpoints", home / "h/hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "c"))
    assert cache_directories()[1] == home / "c"


def test_a_file_that_torch_downloaded_is_at_hand(home: Path) -> None:
    assert not torchvision.at_hand("resnet18")
    for name in ("resnet18-f37072fd.pth", "another.pth"):
        (home / "torch/hub/checkpoints").mkdir(parents=True, exist_ok=True)
        (home / "torch/hub/checkpoints" / name).touch()
    assert torchvision.at_hand("resnet18")
    assert not torchvision.at_hand("resnet34")
    assert is_downloaded(url="https://example.org/a/another.pth?download=1")


def test_weights_of_the_hub_are_at_hand_once_their_file_is_whole(home: Path) -> None:
    snapshot = home / "huggingface/hub/models--timm--test_resnet.r160_in1k/snapshots/0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    (snapshot / "model.safetensors").symlink_to("nowhere")  # as while it is downloaded
    assert not timm.at_hand("timm/test_resnet")
    (snapshot / "nowhere").touch()
    assert timm.at_hand("timm/test_resnet")


def test_the_weights_of_the_package_are_always_at_hand(home: Path) -> None:
    assert efficientnet_lite0.at_hand("efficientnet_lite0")
    assert not is_downloaded()
