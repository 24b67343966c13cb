"""The features of images: their blocks, their description, and the version of the preprocessing behind them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ftcli.data.decoding import decode
from ftcli.data.loader import Batch, Images
from ftcli.data.transforms import draw, evaluation_transform, training_transform
from ftcli.engine.device import Compute
from ftcli.engine.extraction import EXTRACTION_BATCH, PREPROCESSING_VERSION, DataSettings, Extraction, blocks, describe
from ftcli.engine.inference import to_input
from ftcli.model.network import Network, build_network
from ftcli.model.prefix.cut import Cut, Features, cut_network
from ftcli.model.prefix.fast import fast_prefix
from ftcli.recipe.augmentation import POLICIES
from ftcli.records import InputSpec

RECORDED = Path(__file__).with_name("preprocessing.json")
LIBRARIES = ("torch", "torchvision", "timm", "pillow")
CPU = Compute(torch.device("cpu"), "fp32")
SPECS = {
    "crop": InputSpec(32, 37, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "bicubic": InputSpec(32, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "squash": InputSpec(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), squash=True),
}
MODES = {"rgb": "RGB", "grey": "L", "palette": "P", "transparent": "RGBA", "deep": "I;16"}


@pytest.fixture
def pngs(tmp_path: Path) -> dict[str, Path]:
    """Write a PNG of each mode, larger and smaller than the networks' inputs: the same pixels on every machine."""
    paths = {}
    for number, (name, mode) in enumerate(MODES.items()):
        noise = np.random.default_rng(number).integers(0, 256, (47 - 9 * number, 61, 4), dtype=np.uint8)
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(noise)
        paths[name] = tmp_path / f"{name}.png"
        (image if mode == "I;16" else image.convert(mode)).save(paths[name])
    return paths


@pytest.fixture
def network() -> Network:
    return build_network("efficientnet_lite0", "default", classes=("a", "b"), seed=0, image_size=32)


def cut_of(network: Network) -> Cut:
    cut = cut_network(network, {group.name: 1.0 if group.name == "head" else None for group in network.groups})
    assert isinstance(cut, Cut)
    return cut


def pixels_of(pngs: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield a hash of the pixels of every image under every policy and spec."""
    for spec_name, spec in SPECS.items():
        for policy in POLICIES:
            transform = training_transform(spec, policy)
            digest = hashlib.sha256()
            for name, path in pngs.items():
                image = decode(path, minimum_side=transform.minimum_side, name=name)
                digest.update(b"".join(draw(transform, image, seed).numpy().tobytes() for seed in range(8)))
            yield f"{spec_name} {policy}", digest.hexdigest()


def computed(extraction: Extraction, images: torch.Tensor, sizes: list[int]) -> Features:
    """Return the features of images that come in batches of these sizes, having checked how they leave."""
    parts = torch.split(torch.arange(len(images)), sizes)
    made = list(extraction.computed(Batch(indices, images[indices]) for indices in parts))
    assert [batch.indices.tolist() for batch in made] == [indices.tolist() for indices in parts]
    assert all(len(batch.features[0]) == len(batch.indices) for batch in made)
    return tuple(map(torch.cat, zip(*(batch.features for batch in made), strict=True)))


def features_of(pngs: dict[str, Path], network: Network) -> list[float]:
    """Return some features of every image: the channels that the head would see, thinned out."""
    cut, transform = cut_of(network), evaluation_transform(network.spec)
    extraction = Extraction(cut, fast_prefix(cut), transform, CPU, torch.float32)
    images = [decode(path, minimum_side=transform.minimum_side, name=name) for name, path in pngs.items()]
    (features,) = computed(extraction, torch.stack([transform(image) for image in images]), [len(images)])
    values: list[float] = features.flatten(1)[:, ::40].flatten().tolist()
    return values


def test_pixels_and_features_are_those_of_this_preprocessing_version(pngs: dict[str, Path], network: Network) -> None:
    # Stored features are used again as long as PREPROCESSING_VERSION stays. Where this fails:
    # * after a change of ftcli's code: raise PREPROCESSING_VERSION, then record (FTCLI_RECORD=1 pytest THIS_FILE);
    # * after an update of a library: only record. The libraries' versions are part of each collection's description,
    #   so that features of the old one are not used;
    # * after a new augmentation policy: only record.
    now = {
        "version": PREPROCESSING_VERSION,
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "pixels": dict(pixels_of(pngs)),
        "features": features_of(pngs, network),
    }
    if os.environ.get("FTCLI_RECORD"):
        RECORDED.write_text(json.dumps(now, indent=1) + "\n")
    recorded = json.loads(RECORDED.read_text())
    assert now["version"] == recorded["version"], "record the pixels and features of the new version"
    assert now["pixels"] == recorded["pixels"]
    largest = max(map(abs, recorded["features"]))
    assert now["features"] == pytest.approx(recorded["features"], rel=0, abs=1e-4 * largest)


def test_the_description_depends_on_the_version_of_the_preprocessing(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, transform = cut_of(network), evaluation_transform(network.spec)
    before = describe(cut, transform, dtype=torch.float16, compute=CPU)
    monkeypatch.setattr("ftcli.engine.extraction.PREPROCESSING_VERSION", PREPROCESSING_VERSION + 1)
    after = describe(cut, transform, dtype=torch.float16, compute=CPU)
    assert {key for key in before if before[key] != after[key]} == {"preprocessing"}


@pytest.mark.parametrize("sizes", [[70], [31, 1, 38], [5], [32, 32]])
def test_blocks_have_one_size_and_hold_every_image_once(sizes: list[int]) -> None:
    images = torch.arange(sum(sizes)).view(-1, 1, 1, 1)
    made = list(blocks(torch.split(images, sizes)))
    assert all(len(block) == EXTRACTION_BATCH for block, _ in made)
    assert torch.equal(torch.cat([block[:count] for block, count in made]), images)


def test_stored_and_computed_features_are_the_same_bits(
    pngs: dict[str, Path], network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "cache"))
    paths = tuple(pngs.values())
    images = Images(paths, tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths))
    cut, transform = cut_of(network), evaluation_transform(network.spec)
    extraction = Extraction(cut, fast_prefix(cut), transform, CPU, torch.float16)
    reported: list[tuple[int, int]] = []
    with ExitStack() as opened:
        for _ in range(2):
            stored = extraction.stored(
                images, (0,), workers=0, opened=opened, on_rows=lambda done, total: reported.append((done, total))
            )
    assert reported == [(0, 5), (5, 5)], "the second time nothing is computed"
    (rows,) = stored.rows(np.arange(5))
    decoded = [decode(path, minimum_side=transform.minimum_side, name="") for path in paths]
    given = torch.stack([transform(image) for image in decoded])
    for sizes in ([5], [2, 2, 1]):
        (features,) = computed(extraction, given, sizes)
        assert rows.dtype == features.dtype == torch.float16
        assert torch.equal(rows, features)


def test_without_a_cache_no_more_images_pass_the_prefix_than_whole_blocks_need(network: Network) -> None:
    # Padding every batch of 20 to a block of 32 would take five blocks; cache: off takes 100 images.
    cut, transform = cut_of(network), evaluation_transform(network.spec)
    prefix, passed = fast_prefix(cut), []

    def counted(images: torch.Tensor) -> Features:
        passed.append(len(images))
        return prefix(images)

    extraction = Extraction(cut, counted, transform, CPU, torch.float32)
    images = torch.randint(0, 256, (100, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (features,) = computed(extraction, images, [20] * 5)
    assert passed == [EXTRACTION_BATCH] * 4
    (whole,) = prefix(to_input(images[:EXTRACTION_BATCH], network, CPU))
    assert torch.equal(features[:EXTRACTION_BATCH], whole)


def test_a_feature_too_large_for_float16_makes_all_of_them_float32(
    pngs: dict[str, Path], network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "cache"))
    paths = tuple(pngs.values())
    images = Images(paths, tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths))
    cut, transform = cut_of(network), evaluation_transform(network.spec)
    prefix = fast_prefix(cut)
    extraction = Extraction(
        cut, lambda given: tuple(1e6 * each for each in prefix(given)), transform, CPU, torch.float16
    )
    with ExitStack() as opened:
        stored = extraction.stored(images, (0,), workers=0, opened=opened, on_rows=lambda _done, _total: None)
    assert [tensor.dtype for tensor in stored.rows(np.arange(5))] == [torch.float32]
    assert extraction.dtype == torch.float32


def test_the_views_of_epochs_are_those_that_they_use() -> None:
    settings = DataSettings(batch_size=4, augment="standard", views=3, cache="auto", workers=2, seed=0)
    assert settings.views_of(range(1, 3)) == (1, 2)
    assert settings.views_of(range(4, 50)) == (0, 1, 2)
    assert settings.different_views == 3
    assert settings.workers_for(1) == 2
    same = DataSettings(batch_size=4, augment="none", views=3, cache="auto", workers="auto", seed=0)
    assert (same.views_of(range(1, 9)), same.different_views, same.workers_for(1)) == ((0,), 1, 0)
