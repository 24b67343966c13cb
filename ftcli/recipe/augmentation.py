"""How training images are varied: one row for each value of `data.augment`, as plain data.

data/transforms.py applies the rows. To add a policy, add its row: the recipe's schema, docs/recipe.md and the tests
follow. Its features get their own place in the cache by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

Step = Mapping[str, Any]
"""The arguments of a transform of torchvision.transforms.v2; MEAN_COLOUR means the mean colour of the weights."""

MEAN_COLOUR = "mean colour"


@dataclass(frozen=True)
class Policy:
    """A random version of an image: a crop, mirrored or not, then further steps.

    `crop` is the range of the share of the image's area that a crop covers; None is the validation preprocessing.
    `mirror` is the probability of a horizontal flip. Steps are torchvision's transforms by name, applied to the crop
    as an 8-bit image and as a tensor.
    """

    words: str
    crop: tuple[float, float] | None = None
    mirror: float = 0.0
    on_image: Mapping[str, Step] = field(default_factory=dict)
    on_tensor: Mapping[str, Step] = field(default_factory=dict)

    @property
    def is_random(self) -> bool:
        """Whether two views of one image differ."""
        return self.crop is not None or self.mirror > 0 or bool(self.on_image) or bool(self.on_tensor)


POLICIES: Mapping[str, Policy] = {
    "none": Policy("the validation preprocessing"),
    # Crops of ImageNet's 0.08 of the area are too harsh for small datasets.
    "standard": Policy("random crops and flips", crop=(0.35, 1.0), mirror=0.5),
    "strong": Policy(
        "wider crops, flips, colour and shape changes, erasing",
        crop=(0.2, 1.0),
        mirror=0.5,
        # TrivialAugment (arXiv 2103.10158) and random erasing (arXiv 1708.04896).
        on_image={"TrivialAugmentWide": {"interpolation": "bilinear", "fill": MEAN_COLOUR}},
        on_tensor={"RandomErasing": {"p": 0.25, "value": MEAN_COLOUR}},
    ),
}

if TYPE_CHECKING:
    Augment = str
else:
    Augment = Literal[tuple(POLICIES)]
"""The name of a policy; type checkers cannot read the names from a table."""

AUGMENT_WORDS = "; ".join(f"{name}: {policy.words}" for name, policy in POLICIES.items()) + "."
