"""Owns what lies between a decoded RGB image and the network: resizing, augmentation, normalisation.

Owns which random version of an image an epoch sees: fixed views that repeat, or a fresh one every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from ftcli.records import InputSpec
from ftcli.rng import stable_seed

Augment = Literal["none", "standard", "strong"]

STANDARD_SCALE = (0.35, 1.0)
"""Share of the image's area that a standard crop covers; ImageNet's 0.08 is too harsh for small datasets."""

STRONG_SCALE = (0.2, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
ERASING_PROBABILITY = 0.25


@dataclass(frozen=True)
class Transform:
    """A function from an RGB image to uint8 (3, S, S); images of a shorter side than `minimum_side` are enlarged.

    It draws from torch's global generator: call it through `draw` where it may be random.
    """

    function: Callable[[Image.Image], Tensor]
    minimum_side: int

    def __call__(self, image: Image.Image) -> Tensor:
        """Apply the function."""
        return self.function(image)


@dataclass(frozen=True)
class _ResizeAndCrop:
    """Resize the shorter side and crop the centre, in one step that computes only the pixels that stay.

    Equal to torchvision's Resize and CenterCrop on PIL images up to rounding (one grey level in 255, seldom two),
    at two thirds of their time; and a panorama costs no more than a square.
    """

    spec: InputSpec

    def __call__(self, image: Image.Image) -> Tensor:
        side, shorter = self.spec.image_size, self.spec.resize_size
        width, height = image.size
        resized_width = max(shorter, int(shorter * width / height))
        resized_height = max(shorter, int(shorter * height / width))
        left, top = round((resized_width - side) / 2), round((resized_height - side) / 2)
        box = (
            left * width / resized_width,
            top * height / resized_height,
            min((left + side) * width / resized_width, width),
            min((top + side) * height / resized_height, height),
        )
        return _to_tensor(image.resize((side, side), _pillow_filter(self.spec), box=box))


@dataclass(frozen=True)
class _Squash:
    spec: InputSpec

    def __call__(self, image: Image.Image) -> Tensor:
        side = self.spec.image_size
        return _to_tensor(image.resize((side, side), _pillow_filter(self.spec)))


@dataclass(frozen=True)
class _RandomCrop:
    """Resize a random part of the image to (S, S), and mirror every second one.

    As torchvision's RandomResizedCrop and RandomHorizontalFlip; the crop is resized in place instead of copied,
    so that its edges are blended with the pixels beside them.
    """

    spec: InputSpec
    scale: tuple[float, float]

    def __call__(self, image: Image.Image) -> Image.Image:
        top, left, height, width = v2.RandomResizedCrop.get_params(image, self.scale, CROP_RATIO)
        side = self.spec.image_size
        box = (left, top, left + width, top + height)
        crop = image.resize((side, side), _pillow_filter(self.spec), box=box)
        return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(()) < 0.5 else crop


def evaluation_transform(spec: InputSpec) -> Transform:
    """Return the one deterministic transform of validation, `eval`, `predict` and the export check.

    Pillow resizes, with antialiasing: its integer arithmetic gives the same pixels on every machine.
    """
    assert spec.squash or spec.resize_size >= spec.image_size, "a crop cannot be larger than the resized image"
    if spec.squash:
        return Transform(_Squash(spec), spec.image_size)
    return Transform(_ResizeAndCrop(spec), spec.resize_size)


def training_transform(spec: InputSpec, augment: Augment) -> Transform:
    """Return the transform of training images: `none` is the evaluation transform, the others are random.

    `standard` crops and mirrors; `strong` crops more, mirrors, and adds TrivialAugmentWide (arXiv 2103.10158)
    and random erasing (arXiv 1708.04896) with the mean colour.
    """
    if augment == "none":
        return evaluation_transform(spec)
    if augment == "standard":
        return Transform(v2.Compose([_RandomCrop(spec, STANDARD_SCALE), _to_tensor]), _side_for(spec, STANDARD_SCALE))
    mean_colour = [round(255 * channel) for channel in spec.mean]
    steps = [
        _RandomCrop(spec, STRONG_SCALE),
        v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR, fill=mean_colour),
        _to_tensor,
        v2.RandomErasing(p=ERASING_PROBABILITY, value=[float(channel) for channel in mean_colour]),
    ]
    return Transform(v2.Compose(steps), _side_for(spec, STRONG_SCALE))


def draw(transform: Callable[[Image.Image], Tensor], image: Image.Image, rng_seed: int) -> Tensor:
    """Apply a random transform so that the result depends on the image and the seed alone.

    Torch's global CPU generator is left as it was, those of devices are not touched. Not for threads.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng_seed)
        return transform(image)


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    """Return float32 images from uint8 (N, 3, S, S), on the same device and in the same memory format."""
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32, device=images.device).view(1, 3, 1, 1)
    return images.to(torch.float32).sub_(mean * 255).div_(std * 255)


def _side_for(spec: InputSpec, scale: tuple[float, float]) -> int:
    """Return the shorter side at which the smallest crop is still as large as the network's input."""
    return math.ceil(spec.image_size / math.sqrt(scale[0] * CROP_RATIO[0]))


def _to_tensor(image: Image.Image) -> Tensor:
    """Return uint8 (3, H, W), its memory still in the order of the image's pixels."""
    tensor: Tensor = F.pil_to_tensor(image)
    return tensor


def _pillow_filter(spec: InputSpec) -> Image.Resampling:
    return Image.Resampling[spec.interpolation.upper()]


@dataclass(frozen=True)
class FixedViews:
    """`count` versions of each image; epoch e uses view e mod `count`, whatever the run and its seed."""

    count: int

    def seed_of(self, sha256: str, *, epoch: int) -> int:
        """Return the seed of the draw that an epoch uses of an image."""
        return view_seed(sha256, view=epoch % self.count)


@dataclass(frozen=True)
class FreshViews:
    """A new version of each image in every epoch, from the run's seed."""

    seed: int

    def seed_of(self, sha256: str, *, epoch: int) -> int:
        """Return the seed of the draw that an epoch uses of an image."""
        return stable_seed("fresh view", self.seed, epoch, sha256)


Views = FixedViews | FreshViews


def view_seed(sha256: str, *, view: int) -> int:
    """Return the seed of one fixed view of the image with this content."""
    return stable_seed("fixed view", sha256, view)
