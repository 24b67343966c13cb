"""From a decoded RGB image to the network's input: resizing, augmentation, normalisation, and views.

A change of the pixels needs a new engine.extraction.PREPROCESSING_VERSION: stored features depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from ftcli.recipe.augmentation import MEAN_COLOUR, POLICIES, Policy, Step
from ftcli.records import InputSpec
from ftcli.rng import stable_seed

CROP_RATIO = (3 / 4, 4 / 3)
"""The range of a random crop's width over height."""


@dataclass(frozen=True)
class Transform:
    """A function from an RGB image to uint8 (3, S, S), applied to images whose shorter side is `minimum_side` or more.

    It draws from torch's global generator: call it through `draw` where it may be random. `name` is what the cache
    calls it.
    """

    function: Callable[[Image.Image], Tensor]
    minimum_side: int
    name: str = "evaluation"

    def __call__(self, image: Image.Image) -> Tensor:
        """Apply the function."""
        return self.function(image)


@dataclass(frozen=True)
class _ResizeAndCrop:
    """Resize the shorter side and crop the centre, in one step that computes only the pixels of the crop; or squash.

    Equal to torchvision's Resize and CenterCrop on PIL images up to rounding (one grey level in 255, seldom two),
    at two thirds of their time; and a panorama costs no more than a square.
    """

    spec: InputSpec

    def __call__(self, image: Image.Image) -> Tensor:
        side, shorter = self.spec.image_size, self.spec.resize_size
        if self.spec.squash:
            return _to_tensor(image.resize((side, side), _pillow_filter(self.spec)))
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
class _RandomCrop:
    """Resize a random part of the image to (S, S), as torchvision's RandomResizedCrop.

    The crop is resized in place instead of copied, so that pixels next to it blend into its edges.
    """

    spec: InputSpec
    scale: tuple[float, float]

    def __call__(self, image: Image.Image) -> Image.Image:
        top, left, height, width = v2.RandomResizedCrop.get_params(image, self.scale, CROP_RATIO)
        side = self.spec.image_size
        box = (left, top, left + width, top + height)
        return image.resize((side, side), _pillow_filter(self.spec), box=box)


@dataclass(frozen=True)
class _Mirror:
    """Flip the image horizontally with a probability."""

    probability: float

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(()) < self.probability else image


def evaluation_transform(spec: InputSpec) -> Transform:
    """Return the one deterministic transform of validation, `eval`, `predict` and the export check.

    Pillow resizes, with antialiasing: its integer arithmetic gives the same pixels on every machine.
    """
    assert spec.squash or spec.resize_size >= spec.image_size, "a crop cannot be larger than the resized image"
    return Transform(_ResizeAndCrop(spec), spec.image_size if spec.squash else spec.resize_size)


def training_transform(spec: InputSpec, augment: str) -> Transform:
    """Return the transform of training images by a policy of recipe/augmentation.py."""
    policy = POLICIES[augment]
    if not policy.is_random:
        return evaluation_transform(spec)
    steps = [_step(spec, name, step) for name, step in policy.on_tensor.items()]
    if policy.crop is None:
        minimum_side = evaluation_transform(spec).minimum_side
    else:  # the smallest crop is still as large as the network's input
        minimum_side = math.ceil(spec.image_size / math.sqrt(policy.crop[0] * CROP_RATIO[0]))
    return Transform(v2.Compose([*_image_steps(spec, policy), *steps]), minimum_side, augment)


def draw(transform: Callable[[Image.Image], Tensor], image: Image.Image, rng_seed: int) -> Tensor:
    """Apply a random transform so that the result depends on the image and the seed alone.

    Torch's global CPU generator is restored; those of devices are not used. Not for threads.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng_seed)
        return transform(image)


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    """Return float32 images from uint8 (N, 3, S, S), on the same device and in the same memory format."""
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32, device=images.device).view(1, 3, 1, 1)
    return images.to(torch.float32).sub_(mean * 255).div_(std * 255)


def _image_steps(spec: InputSpec, policy: Policy) -> list[Callable[..., Any]]:
    """Return the steps from the decoded image to a tensor."""
    steps = [_step(spec, name, step) for name, step in policy.on_image.items()]
    mirror = [_Mirror(policy.mirror)] if policy.mirror else []
    if policy.crop is not None:
        return [_RandomCrop(spec, policy.crop), *mirror, *steps, _to_tensor]
    return [evaluation_transform(spec).function, F.to_pil_image, *mirror, *steps, _to_tensor]


def _step(spec: InputSpec, name: str, step: Step) -> Callable[..., Any]:
    """Build a transform of torchvision from its arguments as plain data."""
    mean_colour = [round(255 * channel) for channel in spec.mean]
    arguments = {key: mean_colour if value == MEAN_COLOUR else value for key, value in step.items()}
    if "interpolation" in arguments:
        arguments["interpolation"] = InterpolationMode(arguments["interpolation"])
    made: Callable[..., Any] = getattr(v2, name)(**arguments)
    return made


def _to_tensor(image: Image.Image) -> Tensor:
    """Return uint8 (3, H, W), its memory still in the order of the image's pixels."""
    tensor: Tensor = F.pil_to_tensor(image)
    return tensor


def _pillow_filter(spec: InputSpec) -> Image.Resampling:
    return Image.Resampling[spec.interpolation.upper()]


@dataclass(frozen=True)
class FixedViews:
    """`count` versions of each image, the same in all runs, or in those with this seed; epoch e uses e mod `count`."""

    count: int
    seed: int | None = None

    def seed_of(self, sha256: str, *, epoch: int) -> int:
        """Return the seed of the draw that an epoch uses of an image."""
        return view_seed(sha256, view=epoch % self.count, seed=self.seed)


@dataclass(frozen=True)
class FreshViews:
    """A new version of each image in every epoch, from the run's seed."""

    seed: int

    def seed_of(self, sha256: str, *, epoch: int) -> int:
        """Return the seed of the draw that an epoch uses of an image."""
        return stable_seed("fresh view", self.seed, epoch, sha256)


Views = FixedViews | FreshViews


def view_seed(sha256: str, *, view: int, seed: int | None = None) -> int:
    """Return the seed of one fixed view of the image with this content, shared by all runs or by those of a seed."""
    return stable_seed("fixed view", sha256, view, *(() if seed is None else (seed,)))
