"""The multilayer perceptron."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from onebasin.networks.layers import check_sizes


class MLP(nn.Module):
    """A multilayer perceptron with ReLU: `layers.0`, `layers.1`, ... are its linear layers.

    Weights have the default initialization of `nn.Linear`.

    Args:
        depth: number of hidden layers.
        width: number of units of each hidden layer.
        in_features: number of entries of an input of any shape.
        num_classes: number of outputs.

    Raises:
        OneBasinError: a size is out of range.

    Examples:
        >>> [tuple(p.shape) for p in MLP(depth=1, width=8).parameters()]
        [(8, 64), (8,), (10, 8), (10,)]
    """

    def __init__(
        self, *, depth: int = 3, width: int = 512, in_features: int = 64, num_classes: int = 10
    ) -> None:
        super().__init__()
        check_sizes(least=0, depth=depth)
        check_sizes(width=width, in_features=in_features, num_classes=num_classes)
        sizes = [in_features, *[width] * depth, num_classes]
        self.in_features = in_features
        self.input_shape = (in_features,)
        self.layers = nn.ModuleList(
            nn.Linear(size_in, size_out) for size_in, size_out in itertools.pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Args:
            x: inputs, `(batch, ...)` with `in_features` numbers each.

        Returns:
            Logits, `(batch, num_classes)`.
        """
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)
