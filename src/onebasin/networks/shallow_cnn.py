"""The Shallow CNN of Neyshabur (2020), without pooling and without normalization."""

from __future__ import annotations

from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.networks.layers import Convolution, check_sizes


class ShallowCNN(nn.Module):
    """Convolutions: a large one with stride 2, small ones, and one over the whole remaining image.

    The first of `depth` convolutions, `convolutions.0`, is 9×9 with stride 2 and padding 1, the
    last covers its whole input, and those between are 3×3. Each is followed by ReLU; `output`
    is linear. (Neyshabur, "Towards Learning Convolutions from Scratch", 2020.)

    Args:
        depth: number of convolutions, at least 2.
        width: channels of each convolution.
        in_channels: channels of an image.
        image_size: height and width of an image.
        num_classes: number of outputs.

    Raises:
        OneBasinError: a size is out of range.

    Examples:
        >>> network = ShallowCNN(depth=2, width=4, image_size=28, in_channels=1)
        >>> [tuple(p.shape) for p in network.parameters() if p.dim() > 1]
        [(4, 1, 9, 9), (4, 4, 11, 11), (10, 4)]
    """

    def __init__(
        self,
        *,
        depth: int = 2,
        width: int = 64,
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "in_channels": in_channels, "num_classes": num_classes}
        check_sizes(**sizes)
        check_sizes(least=2, depth=depth)
        check_sizes(least=7, image_size=image_size)
        self.input_shape = (in_channels, image_size, image_size)
        left = (image_size + 2 - 9) // 2 + 1
        middle = [Convolution(width, width, 3, padding=1) for _ in range(depth - 2)]
        self.convolutions = nn.ModuleList(
            [
                Convolution(in_channels, width, 9, stride=2, padding=1),
                *middle,
                Convolution(width, width, left),
            ]
        )
        self.output = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Args:
            x: images, `(batch, in_channels, image_size, image_size)`.

        Returns:
            Logits, `(batch, num_classes)`.
        """
        for convolution in self.convolutions:
            x = convolution(x).relu()
        if x.shape[-2:] != (1, 1):
            raise OneBasinError(
                f"shallow-cnn: was built for images of {self.input_shape}, but these leave "
                f"{tuple(x.shape[-2:])} places; build it with another image_size"
            )
        return self.output(x.flatten(1))
