"""The ResNet20 of Git Re-Basin: three stages of three blocks, with a width factor."""

from __future__ import annotations

from onebasin.errors import OneBasinError, check_choice
from onebasin.networks.layers import ResidualNorm, check_sizes
from onebasin.networks.resnet import BasicBlock, ResidualNetwork

BLOCKS = 3
BASE_WIDTHS = (16, 32, 64)


class ResNet20(ResidualNetwork):
    """ResNet20 with widths `w·(16, 32, 64)`: `stem`, `stages.S.B`, and `output`.

    The shortcut of a block that halves the image is a 3×3 convolution with normalization, so the
    channels of every stage are permutable. (Ainsworth et al., 2023; LayerNorm is over the
    channels of each pixel.)

    Args:
        width: the factor `w`; numbers of channels must be integers.
        norm: `layer` (over channels) or `batch`.
        in_channels: channels of an image.
        image_size: height and width of an image; other sizes also work.
        num_classes: number of outputs.

    Raises:
        OneBasinError: a size or the kind of normalization is invalid.

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
        sizes = {"in_channels": in_channels, "image_size": image_size}
        check_sizes(**sizes, num_classes=num_classes)
        check_choice("norm", norm, ResidualNorm)
        super().__init__(
            lambda channels, wide, stride: BasicBlock(
                channels, wide, stride=stride, norm=norm, shortcut_size=3
            ),
            counts=[BLOCKS] * len(BASE_WIDTHS),
            widths=_widths(width),
            norm=norm,
            input_shape=(in_channels, image_size, image_size),
            num_classes=num_classes,
        )


def _widths(factor: int | float) -> tuple[int, ...]:
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    widths = tuple(factor * base for base in BASE_WIDTHS) if number else ()
    if not widths or min(widths) < 1 or any(wide != int(wide) for wide in widths):
        raise OneBasinError(
            f"resnet20: width is {factor!r}; it must be a factor that makes whole numbers of "
            f"channels of {', '.join(map(str, BASE_WIDTHS))}, such as 1, 4 or 0.25"
        )
    return tuple(int(wide) for wide in widths)
