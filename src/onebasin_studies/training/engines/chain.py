"""The chain engine: linear layers and pointwise activations, forward and backward by hand.

Nothing is recorded and nothing is allocated after the first batch: what a small network costs
is then its arithmetic, not the bookkeeping around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from onebasin_studies.training.engines.chain_tracing import Layer
from onebasin_studies.training.engines.loss import Score, score_and_slope
from onebasin_studies.training.engines.products import multiply
from onebasin_studies.training.stacks import Stack


@dataclass(frozen=True)
class Activation:
    """An activation whose slope follows from its output.

    Args:
        forward: changes its input in place.
        backward: changes the gradient by the output, its first argument, in place into that by
            the input; the output is its second.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _relu_backward(slope: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.grad_input(slope, output, 0, grad_input=slope)


def _tanh_backward(slope: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward.grad_input(slope, output, grad_input=slope)


def _sigmoid_backward(slope: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.sigmoid_backward.grad_input(slope, output, grad_input=slope)


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": Activation(torch.relu_, _relu_backward),
        "tanh": Activation(torch.tanh_, _tanh_backward),
        "sigmoid": Activation(torch.sigmoid_, _sigmoid_backward),
    }
)
"""The activations of a chain by the names of their operators."""


class ChainEngine:
    """Runs chains of linear layers.

    Args:
        stack: the networks.
        layers: in their order; the last has no activation.
    """

    def __init__(self, stack: Stack, layers: Sequence[Layer]) -> None:
        self._layers = [_Parameters.of(stack, layer) for layer in layers]
        self._activations = [ACTIVATIONS.get(layer.activation or "") for layer in layers]
        self._spaces: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def learn(self, inputs: Tensor, labels: Tensor) -> Score:
        """Put the gradients of all networks in place; see `Engine`."""
        with torch.no_grad():
            values, slopes = self._space(labels)
            values = [inputs.flatten(2), *values]
            for layer, activation, x, y in zip(
                self._layers[:-1], self._activations, values, values[1:], strict=False
            ):
                _forward(layer, x, y)
                if activation is not None:
                    activation.forward(y)
            logits = self._logits(values[-1])
            score, slope = score_and_slope(logits, labels)
            self._backward(slope, values, slopes)
        return score

    def _space(self, labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return tensors for the values and slopes of a batch of this size, used again."""
        num_networks, size = labels.shape
        if size not in self._spaces:
            values, slopes = (
                [
                    layer.weight.new_empty(num_networks, size, layer.weight.shape[1])
                    for layer in self._layers[:-1]
                ]
                for _ in range(2)
            )
            self._spaces[size] = values, slopes
        return self._spaces[size]

    def _logits(self, x: Tensor) -> Tensor:
        last = self._layers[-1]
        bias = None if last.bias is None else last.bias.unsqueeze(2)
        logits = x.new_empty(len(x), last.weight.shape[1], x.shape[1])
        multiply(last.weight, x.transpose(1, 2), logits, start=bias)
        return logits

    def _backward(self, slope: Tensor, values: list[Tensor], slopes: list[Tensor]) -> None:
        """Go back through the layers; slopes of the last lie as `(n, c, b)`."""
        across = slope
        for place in range(len(self._layers) - 1, -1, -1):
            layer, x = self._layers[place], values[place]
            multiply(across, x, layer.weight_gradient)
            if layer.bias_gradient is not None:
                torch.sum(across, 2, out=layer.bias_gradient)
            if place:
                below = slopes[place - 1]
                multiply(across.transpose(1, 2), layer.weight, below)
                activation = self._activations[place - 1]
                if activation is not None:
                    activation.backward(below, x)
                across = below.transpose(1, 2)


@dataclass(frozen=True)
class _Parameters:
    weight: Tensor
    bias: Tensor | None
    weight_gradient: Tensor
    bias_gradient: Tensor | None

    @classmethod
    def of(cls, stack: Stack, layer: Layer) -> _Parameters:
        weight = stack.params[layer.weight]
        bias = None if layer.bias is None else stack.params[layer.bias]
        assert weight.grad is not None
        return cls(
            weight.detach(),
            None if bias is None else bias.detach(),
            weight.grad,
            None if bias is None else bias.grad,
        )


def _forward(layer: _Parameters, x: Tensor, out: Tensor) -> None:
    bias = None if layer.bias is None else layer.bias.unsqueeze(1)
    multiply(x, layer.weight.transpose(1, 2), out, start=bias)
