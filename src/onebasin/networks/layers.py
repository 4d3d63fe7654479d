"""Layers that several networks share: convolutions that draw their weights, normalization.

Also the one check of sizes that all networks make.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from onebasin.errors import check_whole

Norm = Literal["batch", "layer", "none"]
"""Normalization after a convolution: over the batch, over the channels of a place, or none."""

ResidualNorm = Literal["batch", "layer"]
"""Normalization of a residual network, which cannot be trained without any."""


class Convolution(nn.Conv2d):
    """A convolution whose weights are drawn for ReLU (He et al., 2015) and whose bias is 0.

    The variance of the weights is `2 / fan_in`. PyTorch's own choice, a sixth of it, makes the
    signal of deep networks without normalization vanish.
    """

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each place of an image, with a scale per channel.

    Unlike `GroupNorm(1, C)` it takes no mean over places.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize.

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
        kernel_size: the input is padded so that a stride of 1 keeps its size.
        stride: of the convolution.
        norm: kind of normalization; the convolution has a bias only where there is none.
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
        """Convolve and normalize, `(batch, in_channels, h, w)` to `(batch, channels, h', w')`."""
        return self.norm(self.convolution(x))


def _normalization(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return ChannelNorm(channels) if norm == "layer" else nn.Identity()


def check_sizes(network: str, *, least: int = 1, **sizes: object) -> None:
    """Check that sizes are whole numbers and large enough.

    Args:
        network: what is built, for the message.
        least: the least that each may be.
        sizes: by their names.

    Raises:
        OneBasinError: naming the network, the first size that is wrong and what it may be.
    """
    for name, size in sizes.items():
        check_whole(network, name, size, least=least)
