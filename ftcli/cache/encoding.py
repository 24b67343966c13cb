"""Owns the numbers of a stored feature: how they are narrowed for the disk and widened for training."""

from __future__ import annotations

import torch
from torch import Tensor

from ftcli.cache.errors import HalfPrecisionError

STORAGE_DTYPES = (torch.float16, torch.float32)
_COARSE = 2.0**-13
"""Twice the least number that float16 holds with all its digits; where no feature reaches it, most have fewer."""


def encode(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor as it is stored: floating point as `dtype`, anything else as it is.

    Raises HalfPrecisionError when a finite value would become infinite, or when all are so small that they would lose
    digits; what is not finite already stays so.
    """
    assert dtype in STORAGE_DTYPES, "features are stored as float16 or float32"
    if not tensor.is_floating_point():
        return tensor
    encoded = tensor.to(dtype)
    if tensor.dtype == dtype or dtype != torch.float16:
        return encoded
    if not _surely_finite(encoded) and not torch.equal(encoded.isfinite(), tensor.isfinite()):
        largest = float(tensor[tensor.isfinite()].abs().max())
        raise HalfPrecisionError(f"a feature of {largest:.6g} does not fit into float16")
    if float(encoded.abs().max()) < _COARSE and bool(tensor.any()):
        raise HalfPrecisionError(f"features of at most {float(tensor.abs().max()):.3g} lose digits in float16")
    return encoded


def decode(tensor: Tensor) -> Tensor:
    """Return a stored tensor as training reads it: floating point as float32, anything else as it is."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _surely_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite, from their sum, which is quick; a sum of finite values may overflow too."""
    return bool(tensor.sum(dtype=torch.float32).isfinite())
