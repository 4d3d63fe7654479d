"""The ResNet20 of Git Re-Basin: three stages of three blocks, widened by a factor."""

from __future__ import annotations

from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.networks.layers import ConvolutionBlock, ResidualNorm, check_norm, check_sizes
from onebasin.networks.resnet import BasicBlock

BLOCKS = 3
BASE_WIDTHS = (16, 32, 64)


class ResNet20(nn.Module):
    """ResNet20 with widths `w·(16, 32, 64)`: `stem`, `stages.S.B`, and `output`.

    Where a block halves the image its shortcut is a 3×3 convolution with normalisation, so
    that the channels of every stage may move freely. (Ainsworth et al., 2023; LayerNorm there
    is over the channels of each place.)

    Args:
        width: the factor `w`; a fraction must leave whole numbers of channels.
        norm: `layer` (over the channels of a place) or `batch`.
        in_channels: channels of an image.
        image_size: its height and width; any larger or smaller one works as well.
        num_classes: size of the output.

    Raises:
        OneBasinError: when a size or the kind of normalisation is not one that it can have.

    Examples:
        >>> network = ResNet20(width=2)
        >>> network.stem.convolution.out_channels, network.output.in_features
        (32, 128)
    """

    def __init__(
        self,
        *,
        width: int | float = 1,
        norm: ResidualNorm = "layer",
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "image_size": image_size}
        check_sizes("resnet20", **sizes, num_classes=num_classes)
        check_norm("resnet20", norm, choices=ResidualNorm)
        widths = _widths(width)
        self.input_shape = (in_channels, image_size, image_size)
        self.stem = ConvolutionBlock(in_channels, widths[0], norm=norm)
        channels, stages = widths[0], []
        for index, wide in enumerate(widths):
            stage = nn.Sequential()
            for place in range(BLOCKS):
                stride = 2 if index > 0 and place == 0 else 1
                stage.append(BasicBlock(channels, wide, stride=stride, norm=norm, shortcut_size=3))
                channels = wide
            stages.append(stage)
        self.stages = nn.ModuleList(stages)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: images, `(batch, in_channels, height, width)`.

        Returns:
            Logits, `(batch, num_classes)`.
        """
        x = self.stem(x).relu()
        for stage in self.stages:
            x = stage(x)
        return self.output(x.mean((2, 3)))


def _widths(factor: int | float) -> tuple[int, ...]:
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    widths = tuple(factor * base for base in BASE_WIDTHS) if number else ()
    if not widths or min(widths) < 1 or any(wide != int(wide) for wide in widths):
        raise OneBasinError(
            f"resnet20: width is {factor!r}; it must be a factor that makes whole numbers of "
            f"channels of {', '.join(map(str, BASE_WIDTHS))}, such as 1, 4 or 0.25"
        )
    return tuple(int(wide) for wide in widths)
