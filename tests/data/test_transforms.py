from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from ftcli.data.transforms import draw, evaluation_transform, normalise, training_transform
from ftcli.recipe import augmentation
from ftcli.recipe.augmentation import POLICIES
from ftcli.recipe.keys import DataSection
from ftcli.records import InputSpec

SPEC = InputSpec(64, 73, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def photo(width=150, height=110, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(150, 110), (110, 150), (100, 100), (501, 73), (20, 30), (97, 1000)])
def test_evaluation_equals_torchvisions_resize_and_centre_crop(interpolation, size):
    spec = replace(SPEC, interpolation=interpolation)
    image = photo(*size)
    reference = v2.Compose(
        [v2.Resize(73, InterpolationMode(interpolation), antialias=True), v2.CenterCrop(64), v2.PILToTensor()]
    )(image)
    result = evaluation_transform(spec)(image)
    assert result.dtype == torch.uint8
    assert result.shape == (3, 64, 64)
    difference = (result.int() - reference.int()).abs()
    assert difference.max() <= 2
    assert difference.float().mean() < 0.05


def test_nearest_takes_pixels_that_exist():
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("RGB")
    result = evaluation_transform(replace(SPEC, interpolation="nearest"))(image)
    assert set(result.unique().tolist()) == {0, 255}


def test_squash_keeps_the_whole_image():
    image = Image.new("RGB", (300, 40), "black")
    image.paste("white", (0, 0, 20, 40))
    squashed = evaluation_transform(replace(SPEC, squash=True))(image)
    assert squashed.shape == (3, 64, 64)
    assert squashed[:, 32, 0].tolist() == [255] * 3
    assert evaluation_transform(SPEC)(image)[:, 32, 0].tolist() == [0] * 3


def test_a_panorama_costs_no_memory_beyond_its_crop():
    assert evaluation_transform(SPEC)(Image.new("RGB", (60_000, 2), "red")).shape == (3, 64, 64)


@pytest.mark.parametrize("augment", POLICIES)
def test_a_draw_is_a_function_of_image_and_seed(augment):
    transform = training_transform(SPEC, augment)
    torch.manual_seed(1)
    first = draw(transform, photo(), 5)
    torch.manual_seed(2)
    assert torch.equal(draw(transform, photo(), 5), first)
    assert first.shape == (3, 64, 64)
    assert first.dtype == torch.uint8
    others = [torch.equal(draw(transform, photo(), seed), first) for seed in range(6, 12)]
    assert not any(others) if POLICIES[augment].is_random else all(others)


def test_a_draw_leaves_torchs_generator_as_it_was():
    before = torch.get_rng_state()
    draw(training_transform(SPEC, "strong"), photo(), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_augmentation_is_the_evaluation_transform():
    assert torch.equal(training_transform(SPEC, "none")(photo()), evaluation_transform(SPEC)(photo()))


def test_standard_mirrors_about_half_of_the_draws():
    ramp = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (150, 1))).convert("RGB")
    transform = training_transform(SPEC, "standard")
    mirrored = [int(view[0, 0, 0]) > int(view[0, 0, -1]) for view in (draw(transform, ramp, s) for s in range(200))]
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize(("augment", "smallest"), [("standard", 0.35), ("strong", 0.2)])
def test_crops_cover_at_least_their_share_and_never_enlarge_from_the_minimum_side(augment, smallest):
    transform = training_transform(SPEC, augment)
    side = transform.minimum_side
    areas = []
    for seed in range(200):
        torch.manual_seed(seed)
        scale = POLICIES[augment].crop
        _, _, height, width = v2.RandomResizedCrop.get_params(Image.new("RGB", (side, side)), scale, [3 / 4, 4 / 3])
        areas.append(height * width / side**2)
        assert min(height, width) >= 64 - 1
    assert smallest - 0.02 < min(areas) < smallest + 0.1
    assert max(areas) > 0.9


def test_a_policy_without_a_crop_keeps_the_validation_preprocessing(monkeypatch):
    monkeypatch.setitem(
        augmentation.POLICIES, "brightness", augmentation.Policy("", on_image={"ColorJitter": {"brightness": 0.5}})
    )
    monkeypatch.setitem(augmentation.POLICIES, "mirror", augmentation.Policy("", mirror=1.0))
    plain = evaluation_transform(SPEC)(photo())
    assert torch.equal(draw(training_transform(SPEC, "mirror"), photo(), 0), plain.flip(2))
    brighter = draw(training_transform(SPEC, "brightness"), photo(), 3)
    assert brighter.shape == plain.shape
    assert not torch.equal(brighter, plain)


def test_every_policy_is_a_value_of_the_recipe_with_its_words():
    schema = DataSection.model_json_schema()["properties"]["augment"]
    assert schema["enum"] == list(POLICIES)
    assert all(f"{name}: {policy.words}" in schema["description"] for name, policy in POLICIES.items())


def test_strong_differs_from_image_to_image_in_colour_and_erases_with_the_mean():
    plain = Image.new("RGB", (100, 100), (10, 200, 30))
    transform = training_transform(SPEC, "strong")
    views = [draw(transform, plain, seed) for seed in range(120)]
    mean = torch.tensor([124, 116, 104], dtype=torch.uint8).view(3, 1, 1)
    erased = [bool((view == mean).all(0).any()) for view in views]
    assert 10 < sum(erased) < 100
    assert len({tuple(view[:, 0, 0].tolist()) for view in views}) > 10


@pytest.mark.parametrize("augment", POLICIES)
def test_transforms_travel_to_spawned_workers(augment):
    transform = training_transform(SPEC, augment)
    travelled = pickle.loads(pickle.dumps(transform))  # noqa: S301 (our own bytes)
    assert torch.equal(draw(travelled, photo(), 3), draw(transform, photo(), 3))


def test_normalise_gives_float32_with_the_specs_mean_and_std():
    images = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    reference = v2.functional.normalize(images.float() / 255, list(SPEC.mean), list(SPEC.std))
    result = normalise(images, SPEC)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, reference, atol=1e-5, rtol=1e-5)


def test_normalise_keeps_the_bytes_and_the_memory_format():
    images = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8).to(memory_format=torch.channels_last)
    before = images.clone()
    assert normalise(images, SPEC).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_a_crop_larger_than_the_resized_image_is_our_own_bug():
    with pytest.raises(AssertionError):
        evaluation_transform(replace(SPEC, resize_size=60))
