"""Normalization of pixel values: parsing and description."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeAlias

from onebasin.data.examples import Pixels
from onebasin.errors import OneBasinError

MeanAndStd: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and standard deviations, one for each channel or one for all; pixels are 0 to 1."""

NONE: MeanAndStd = ((0.0,), (1.0,))


def parse_normalization(text: str) -> MeanAndStd:
    """Return the means and standard deviations that a text gives.

    Args:
        text: `none`, or means and then standard deviations, separated by commas.

    Raises:
        OneBasinError: the text is invalid.

    Examples:
        >>> parse_normalization("0.5,0.25")
        ((0.5,), (0.25,))
        >>> parse_normalization("none")
        ((0.0,), (1.0,))
    """
    if text.strip().lower() == "none":
        return NONE
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not all(map(isfinite, numbers)):
        numbers = []
    half = len(numbers) // 2
    mean, std = tuple(numbers[:half]), tuple(numbers[half:])
    if numbers and len(numbers) % 2 == 0 and 0 in std:
        raise OneBasinError(
            f"data: normalize={text!r} has the standard deviation 0; pass positive ones, such as "
            "0.5,0.25"
        )
    if len(numbers) % 2 or not numbers or not all(0 < value < 1e6 for value in std):
        raise OneBasinError(
            f"data: invalid normalize={text!r}; pass none, MEAN,STD such as 0.5,0.25, or "
            "the means and then the standard deviations of all channels"
        )
    return mean, std


def describe_normalization(inputs: Any) -> str | None:
    """Return the normalization of images in words; None for other inputs."""
    return describe(inputs.mean, inputs.std) if isinstance(inputs, Pixels) else None


def describe(mean: Sequence[float], std: Sequence[float]) -> str:
    """Return a normalization in words.

    Example:
        >>> describe((0.5,), (0.25,))
        'mean 0.5, std 0.25'
    """
    if not any(mean) and set(std) == {1.0}:
        return "none (pixels are 0 to 1)"
    means, stds = ("/".join(f"{value:.4g}" for value in values) for values in (mean, std))
    return f"mean {means}, std {stds}"
