"""Layers of several networks: convolution and normalization.

Also the validation of sizes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from onebasin.errors import check_whole

Norm = Literal["batch", "layer", "none"]
"""Normalization after a convolution: over the batch, over channels, or none."""

ResidualNorm = Literal["batch", "layer"]
"""Normalization of a residual network, which is required."""


class Convolution(nn.Conv2d):
    """A convolution initialized for ReLU (He et al., 2015), with bias 0.

    The variance of the weights is `2 / fan_in`. With the default of PyTorch, a sixth of it, the
    signal of deep networks without normalization vanishes.
    """

    def reset_parameters(self) -> None:
        """Initialize the weights."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel, with a scale per channel.

    Unlike `GroupNorm(1, C)` it does not average over pixels.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """Return normalized images.

        Args:
            input: images, `(batch, channels, height, width)`.

        Returns:
            Images of the same shape.
        """
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvolutionBlock(nn.Module):
    """A convolution and its normalization: `convolution`, `norm`.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel_size: kernel size; with padding, a stride of 1 keeps the image size.
        stride: stride of the convolution.
        norm: kind of normalization; the convolution has a bias only without one.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.convolution = Convolution(
            in_channels,
            channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=norm == "none",
        )
        self.norm = _normalization(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, channels, h', w')` from `(batch, in_channels, h, w)`."""
        return self.norm(self.convolution(x))


def _normalization(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return ChannelNorm(channels) if norm == "layer" else nn.Identity()


def check_sizes(*, least: int = 1, **sizes: object) -> None:
    """Check that sizes are integers of at least a minimum.

    Args:
        least: smallest valid size.
        sizes: sizes by name.

    Raises:
        OneBasinError: a size is invalid.
    """
    for name, size in sizes.items():
        check_whole(name, size, least=least)
