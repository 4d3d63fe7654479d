"""VGG of any width, with BatchNorm, LayerNorm over channels, or no normalization."""

from __future__ import annotations

from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor, nn

from onebasin.errors import check_choice
from onebasin.networks.layers import ConvolutionBlock, Norm, check_sizes

STAGES = MappingProxyType(
    {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
)
"""Number of convolutions of each stage, by depth; three linear layers follow."""

MULTIPLES = (1, 2, 4, 8, 8)


class VGG(nn.Module):
    """VGG with widths `w·(1, 2, 4, 8, 8)` and two hidden linear layers.

    `stages.S.K` are the convolutions, 3×3 and followed by ReLU; a 2×2 max pooling ends each
    stage; `hidden.0`, `hidden.1` and `output` are linear. (Simonyan and Zisserman, 2015.)

    Differs from the paper:
        - max pooling keeps the odd row and column, so images can have any size:
          28×28 becomes 14, 7, 4, 2 and 1;
        - no dropout, and the hidden layers are as wide as the last convolution (Entezari et
          al., 2022).

    Args:
        depth: 11, 13, 16 or 19 layers.
        width: channels of the first stage.
        hidden: units of both hidden layers; `8·width` by default.
        norm: `batch`, `layer` (over channels) or `none`.
        in_channels: channels of an image.
        image_size: height and width of an image.
        num_classes: number of outputs.

    Raises:
        OneBasinError: a size or the kind of normalization is invalid.

    Examples:
        >>> network = VGG(depth=11, width=8)
        >>> network.hidden[0], network.output.out_features
        (Linear(in_features=64, out_features=64, bias=True), 10)
    """

    def __init__(
        self,
        *,
        depth: int = 16,
        width: int = 64,
        hidden: int | None = None,
        norm: Norm = "batch",
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        hidden = 8 * width if hidden is None else hidden
        sizes = {"width": width, "hidden": hidden, "in_channels": in_channels}
        check_sizes(**sizes, image_size=image_size, num_classes=num_classes)
        check_choice("norm", norm, Norm)
        self.input_shape = (in_channels, image_size, image_size)
        channels, size, stages = in_channels, image_size, []
        for count, multiple in zip(STAGES[depth], MULTIPLES, strict=True):
            stage = nn.ModuleList()
            for _ in range(count):
                stage.append(ConvolutionBlock(channels, width * multiple, norm=norm))
                channels = width * multiple
            stages.append(stage)
            size = -(-size // 2)
        self.stages = nn.ModuleList(stages)
        inputs = channels * size * size
        self.hidden = nn.ModuleList([nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)])
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Args:
            x: images, `(batch, in_channels, image_size, image_size)`.

        Returns:
            Logits, `(batch, num_classes)`.
        """
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x).relu()
            x = F.max_pool2d(x, 2, ceil_mode=True)
        x = x.flatten(1)
        for layer in self.hidden:
            x = layer(x).relu()
        return self.output(x)
