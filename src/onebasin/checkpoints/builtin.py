"""The architectures that come with onebasin, and the table that names them."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from onebasin.checkpoints.inputs import InputSpec


class MLP(nn.Module):
    """A multilayer perceptron with ReLU: `layers.0`, `layers.1`, ... are its linear layers.

    Args:
        depth: Number of hidden layers.
        width: Units in each hidden layer.
        in_features: Size of an input.
        num_classes: Size of the output.

    Examples:
        >>> [tuple(p.shape) for p in MLP(depth=1, width=8).parameters()]
        [(8, 64), (8,), (10, 8), (10,)]
    """

    def __init__(
        self, *, depth: int = 3, width: int = 512, in_features: int = 64, num_classes: int = 10
    ) -> None:
        super().__init__()
        if min(depth, width - 1, in_features - 1, num_classes - 1) < 0:
            raise ValueError("depth must be at least 0, and all sizes at least 1")
        sizes = [in_features, *[width] * depth, num_classes]
        self.in_features = in_features
        self.layers = nn.ModuleList(
            nn.Linear(size_in, size_out) for size_in, size_out in itertools.pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: Inputs, `(batch, in_features)`.

        Returns:
            Logits, `(batch, num_classes)`.
        """
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


@dataclass(frozen=True)
class BuiltinArchitecture:
    """How to build a named architecture and what to feed it.

    Args:
        build: Makes the module from keyword arguments.
        inputs: Tells the inputs of a module that `build` made.
    """

    build: Callable[..., nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]


BUILTIN_ARCHITECTURES: Mapping[str, BuiltinArchitecture] = MappingProxyType(
    {"mlp": BuiltinArchitecture(MLP, lambda mlp: (InputSpec((2, mlp.in_features)),))}
)
"""The architectures known by name alone; layers above pass a longer table of their own."""
