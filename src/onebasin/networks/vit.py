"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.networks.layers import check_sizes


class PositionEmbedding(nn.Module):
    """A learned vector for each position, added to the input.

    Args:
        places: number of positions.
        width: size of each vector.
    """

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(places, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize the vectors."""
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Add the vectors to `(batch, places, width)`."""
        return x + self.weight


class Attention(nn.Module):
    """Attention with several heads: `inputs` computes queries, keys and values.

    Args:
        width: size of input and output vectors.
        num_heads: number of heads; each works on `width / num_heads` channels.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return attention outputs `(batch, places, width)` from inputs of the same shape."""
        batch, places, width = x.shape
        size = width // self.num_heads
        parts = self.inputs(x).reshape(batch, places, 3, self.num_heads, size)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        # Written out, because vmap has no rule for the fused kernel of the CPU.
        scores = (query @ key.transpose(-2, -1)) * size**-0.5
        mixed = scores.softmax(-1) @ value
        return self.output(mixed.transpose(1, 2).reshape(batch, places, width))


class TransformerBlock(nn.Module):
    """Attention and a GELU perceptron, each with normalized input and a residual connection.

    Args:
        width: size of input and output vectors.
        num_heads: number of heads of the attention.
        hidden: number of units of the perceptron.
    """

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads)
        self.hidden_norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, places, width)` from inputs of the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.output(nn.functional.gelu(self.hidden(self.hidden_norm(x))))


class VisionTransformer(nn.Module):
    """A vision transformer: `patches`, `positions`, `blocks.B`, `norm`, and `output`.

    (Dosovitskiy et al., 2021.)

    Differs from the paper:
        - the output is computed from the mean over all positions, not from a class token.

    Args:
        depth: number of blocks.
        width: size of the vector of each position.
        num_heads: number of heads of each block, a divisor of the width.
        hidden: number of units of the perceptron of each block; `4·width` by default.
        patch_size: height and width of a patch.
        in_channels: channels of an image.
        image_size: its height and width, a multiple of the patch size.
        num_classes: number of outputs.

    Raises:
        OneBasinError: a size is out of range, or does not go into another.

    Examples:
        >>> network = VisionTransformer(depth=1, width=12)
        >>> network.positions.weight.shape
        torch.Size([64, 12])
    """

    def __init__(
        self,
        *,
        depth: int = 6,
        width: int = 192,
        num_heads: int = 3,
        hidden: int | None = None,
        patch_size: int = 4,
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        hidden = 4 * width if hidden is None else hidden
        check_sizes(depth=depth, width=width, num_heads=num_heads, hidden=hidden)
        check_sizes(patch_size=patch_size, in_channels=in_channels)
        check_sizes(image_size=image_size, num_classes=num_classes)
        _check_multiple("width", width, "num_heads", num_heads)
        _check_multiple("image_size", image_size, "patch_size", patch_size)
        self.input_shape = (in_channels, image_size, image_size)
        self.patches = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        self.positions = PositionEmbedding((image_size // patch_size) ** 2, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads, hidden) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Args:
            x: images, `(batch, in_channels, image_size, image_size)`.

        Returns:
            Logits, `(batch, num_classes)`.
        """
        x = self.positions(self.patches(x).flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x).mean(1))


def _check_multiple(name: str, size: int, of_name: str, of: int) -> None:
    if size % of:
        raise OneBasinError(
            f"vit: {name} is {size} and {of_name} {of}; {name} must be a multiple of {of_name}"
        )
