"""torchvision's largest networks made small: the same modules and forward, with fewer weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import nn
from torchvision.models import vision_transformer


@contextmanager
def small_networks() -> Iterator[None]:
    """Build AlexNet and VGG with 64 features instead of 4096, and vision transformers with three layers.

    The full size takes gigabytes and tests nothing more about cutting, folding, freezing or loading.
    """

    usual_linear, usual_transformer = nn.Linear.__init__, vision_transformer._vision_transformer

    def linear(layer: nn.Linear, in_features: int, out_features: int, *arguments: Any, **options: Any) -> None:
        widths = (64 if width == 4096 else width for width in (in_features, out_features))
        usual_linear(layer, *widths, *arguments, **options)

    def transformer(**options: Any) -> nn.Module:
        return usual_transformer(**options | {"num_layers": 3})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Linear, "__init__", linear)
        patch.setattr(vision_transformer, "_vision_transformer", transformer)
        yield
