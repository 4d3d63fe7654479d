"""ResNet18, 34 and 50 for small images: a 3×3 stem and widths `w·(1, 2, 4, 8)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType

from torch import Tensor, nn

from onebasin.errors import check_choice
from onebasin.networks.layers import ConvolutionBlock, ResidualNorm, check_sizes

STAGES = MappingProxyType({18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)})
"""Number of blocks of each stage, by depth."""

EXPANSION = 4


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: stride of the first convolution.
        norm: kind of normalization.
        shortcut_size: kernel size of the convolution in the shortcut, which exists only if the
            shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        norm: ResidualNorm = "batch",
        shortcut_size: int = 1,
    ) -> None:
        super().__init__()
        self.first = ConvolutionBlock(in_channels, channels, stride=stride, norm=norm)
        self.second = ConvolutionBlock(channels, channels, norm=norm)
        self.shortcut = _shortcut(in_channels, channels, stride, norm, shortcut_size)

    def forward(self, x: Tensor) -> Tensor:
        """Compute `(batch, channels, h', w')` from `(batch, in_channels, h, w)`."""
        return (self.second(self.first(x).relu()) + self.shortcut(x)).relu()


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with a shortcut; the last one is four times as wide.

    Args:
        in_channels: channels of the input.
        channels: inner channels; the output has four times as many.
        stride: stride of the 3×3 convolution.
        norm: kind of normalization.
    """

    def __init__(
        self, in_channels: int, channels: int, *, stride: int = 1, norm: ResidualNorm = "batch"
    ) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.first = ConvolutionBlock(in_channels, channels, kernel_size=1, norm=norm)
        self.second = ConvolutionBlock(channels, channels, stride=stride, norm=norm)
        self.third = ConvolutionBlock(channels, out_channels, kernel_size=1, norm=norm)
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute `(batch, 4·channels, h', w')` from `(batch, in_channels, h, w)`."""
        inner = self.second(self.first(x).relu()).relu()
        return (self.third(inner) + self.shortcut(x)).relu()


def _shortcut(
    in_channels: int, channels: int, stride: int, norm: ResidualNorm, kernel_size: int
) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return ConvolutionBlock(
        in_channels, channels, kernel_size=kernel_size, stride=stride, norm=norm
    )


class ResidualNetwork(nn.Module):
    """Base class of residual networks for small images: `stem`, `stages.S.B`, `output`.

    The first block of each stage but the first halves the image size.

    Args:
        block: function of input channels, channels of the stage and stride that returns a block.
        counts: number of blocks of each stage.
        widths: channels of each stage; the stem has those of the first stage.
        expansion: ratio of output channels to inner channels of a block.
        norm: normalization of the stem.
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.
    """

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        *,
        counts: Sequence[int],
        widths: Sequence[int],
        expansion: int = 1,
        norm: ResidualNorm,
        input_shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.stem = ConvolutionBlock(input_shape[0], widths[0], norm=norm)
        channels, stages = widths[0], []
        for index, (count, inner) in enumerate(zip(counts, widths, strict=True)):
            stage = nn.Sequential()
            for place in range(count):
                stage.append(block(channels, inner, 2 if index > 0 and place == 0 else 1))
                channels = inner * expansion
            stages.append(stage)
        self.stages = nn.ModuleList(stages)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Args:
            x: images, `(batch, in_channels, height, width)`.

        Returns:
            Logits, `(batch, num_classes)`.
        """
        x = self.stem(x).relu()
        for stage in self.stages:
            x = stage(x)
        return self.output(x.mean((2, 3)))


class ResNet(ResidualNetwork):
    """A residual network for small images: `stem`, `stages.S.B`, and `output`.

    (He et al., 2016; the 3×3 stem without pooling as for CIFAR.)

    Args:
        depth: 18, 34 (basic blocks) or 50 (bottlenecks).
        width: channels `w` of the stem; the stages have `w·(1, 2, 4, 8)`, and outputs of
            bottlenecks four times as many.
        norm: `batch` or `layer` (over channels).
        in_channels: channels of an image.
        image_size: height and width of an image; other sizes also work.
        num_classes: number of outputs.

    Raises:
        OneBasinError: a size or the kind of normalization is invalid.

    Examples:
        >>> network = ResNet(depth=18, width=4)
        >>> len(network.stages), network.output.in_features
        (4, 32)
    """

    def __init__(
        self,
        *,
        depth: int = 18,
        width: int = 64,
        norm: ResidualNorm = "batch",
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
    ) -> None:
        sizes = {"width": width, "in_channels": in_channels, "image_size": image_size}
        check_sizes(**sizes, num_classes=num_classes)
        check_choice("norm", norm, ResidualNorm)
        kind, expansion = (Bottleneck, EXPANSION) if depth == 50 else (BasicBlock, 1)
        super().__init__(
            lambda channels, inner, stride: kind(channels, inner, stride=stride, norm=norm),
            counts=STAGES[depth],
            widths=[width * 2**index for index in range(4)],
            expansion=expansion,
            norm=norm,
            input_shape=(in_channels, image_size, image_size),
            num_classes=num_classes,
        )
