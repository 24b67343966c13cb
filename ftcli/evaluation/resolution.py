"""Owns what a number of images can resolve: the smallest differences that a paired test finds."""

from __future__ import annotations

import math

from ftcli.evaluation.significance import SIGNIFICANCE

FEWEST_FLIPS = 6
"""The fewest flips, all one way, that give p < SIGNIFICANCE: 2 * 0.5**6 = 0.031."""

POWER = 0.8


def detectable_difference(images: int, flips: int) -> float | None:
    """Return the true difference of accuracy that McNemar's test finds with a probability of POWER.

    For runs that flip as many images as were seen to flip (Connor 1987, doi:10.2307/2531961, solved for the
    difference). None where so few flips cannot show it however they fall.
    """
    from scipy.special import ndtri

    if flips < FEWEST_FLIPS:
        return None
    share = flips / images
    found, reached = float(ndtri(1 - SIGNIFICANCE / 2)), float(ndtri(POWER))
    half = found * math.sqrt(images * share)
    root = half**2 - (images + reached**2) * (found**2 - reached**2) * share
    difference = (half + math.sqrt(root)) / (images + reached**2)
    return difference if difference <= share else None


def resolution_sentence(images: int, flips: int) -> str:
    """Return what so many images, of which so many flipped, can resolve."""
    if images < FEWEST_FLIPS:
        return f"Fewer than {FEWEST_FLIPS} images cannot tell two runs apart at p < {SIGNIFICANCE}."
    sentence = (
        f"On {images} images a paired test needs at least {FEWEST_FLIPS} one-way flips "
        f"({100 * FEWEST_FLIPS / images:.1f} points) for p < {SIGNIFICANCE}"
    )
    detectable = detectable_difference(images, flips)
    if detectable is None:
        return f"{sentence}."
    return (
        f"{sentence}; where {100 * flips / images:.1f} % of them flip, as here, it finds a true difference of "
        f"{100 * detectable:.1f} points four times in five."
    )
