"""Augmentation: random crop, flip and rotation of batches of images."""

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
    """Random crop, resize, flip and rotation of each image in one resampling.

    The defaults are those of the ResNets of Ainsworth et al. (2023). An image is scaled by a
    factor drawn log-uniformly from `zoom`. Above 1, a random crop of it remains. Below 1, it is
    padded at random sides with `0`, the mean color of normalized images.

    Differs from the paper:
        - the three are one affine map and one bilinear resampling, not three.

    Args:
        zoom: smallest and largest factor.
        flip: whether half of the images are mirrored from left to right.
        degrees: largest rotation angle in either direction.

    Raises:
        OneBasinError: a factor or angle is out of range.

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
        """Return random affine maps from pixels of the result to pixels of the image.

        Args:
            number: number of maps.
            generator: random generator, on the CPU.

        Returns:
            Maps of normalized coordinates for `torch.nn.functional.affine_grid`.
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
        """Return resampled images.

        Args:
            images: square images, `(n, channels, size, size)`, on any device.
            maps: the map of each image; see `draw`.

        Returns:
            Images of the same shape.

        Raises:
            OneBasinError: the inputs are not square images.
        """
        if images.ndim != 4 or images.shape[2] != images.shape[3]:
            raise OneBasinError(
                f"augmentation: inputs are {tuple(images.shape)}; it takes square images "
                "(n, channels, size, size)"
            )
        grid = F.affine_grid(maps.to(images), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return images `(n, channels, size, size)`, each with a random map."""
        return self.apply(images, self.draw(len(images), generator))
