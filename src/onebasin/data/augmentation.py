"""Augmentation: images cropped, flipped and turned at random, a batch at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onebasin.errors import OneBasinError


@dataclass(frozen=True)
class Augmentation:
    """A random crop, resize, flip and rotation of each image, done in one resampling.

    The defaults are those of the ResNets of Ainsworth et al. (2023). An image is enlarged by a
    factor drawn log-uniformly from `zoom`; where that is above 1 a random piece of it is kept,
    where it is below 1 it lies at a random place in front of `0`, which is the mean color of
    normalized images.

    Differs from the paper:
        - the three are one affine map and one bilinear resampling, not three.

    Args:
        zoom: least and greatest factor.
        flip: whether half of the images are mirrored from left to right.
        degrees: images are turned by an angle between minus and plus this.

    Raises:
        OneBasinError: when a factor or angle is out of range.

    Examples:
        >>> images = torch.randn(4, 3, 32, 32)
        >>> Augmentation()(images, torch.Generator().manual_seed(0)).shape
        torch.Size([4, 3, 32, 32])
    """

    zoom: tuple[float, float] = (0.8, 1.2)
    flip: bool = True
    degrees: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        low, high = self.zoom
        if not 0 < low <= high or not 0 <= self.degrees <= 180:
            raise OneBasinError(
                f"augmentation: zoom {self.zoom}, degrees {self.degrees}; zoom must be two "
                "positive factors in order, and degrees from 0 to 180"
            )

    def draw(self, number: int, generator: torch.Generator) -> Float[Tensor, "{number} 2 3"]:
        """Draw affine maps from places of the result to places of the image.

        Args:
            number: how many.
            generator: the source of randomness, on the CPU.

        Returns:
            Maps of normalized coordinates as `torch.nn.functional.affine_grid` takes them.
        """
        uniform = torch.rand(5, number, generator=generator)
        low, high = (math.log(factor) for factor in self.zoom)
        window = torch.exp(-(low + (high - low) * uniform[0]))
        angle = math.radians(self.degrees) * (2 * uniform[1] - 1)
        mirror = torch.where(uniform[2] < 0.5, -1.0, 1.0) if self.flip else torch.ones(number)
        shift = (1 - window).abs() * (2 * uniform[3:] - 1)
        cosine, sine = window * angle.cos(), window * angle.sin()
        across = torch.stack([mirror * cosine, -sine, shift[0]], dim=1)
        down = torch.stack([mirror * sine, cosine, shift[1]], dim=1)
        return torch.stack([across, down], dim=1)

    def apply(self, images: Tensor, maps: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n c s s"]:
        """Resample images.

        Args:
            images: square images, `(n, channels, size, size)`, on any device.
            maps: one for each, as `draw` gives them.

        Returns:
            Images of the same shape.

        Raises:
            OneBasinError: when the inputs are not square images.
        """
        if images.ndim != 4 or images.shape[2] != images.shape[3]:
            raise OneBasinError(
                f"augmentation: inputs are {tuple(images.shape)}; it takes square images "
                "(n, channels, size, size)"
            )
        grid = F.affine_grid(maps.to(images), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a map for each image and resample it; `(n, channels, size, size)`."""
        return self.apply(images, self.draw(len(images), generator))
