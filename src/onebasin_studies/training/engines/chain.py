"""The chain engine: explicit forward and backward passes of linear layers and activations.

It records no graph and allocates no memory after the first batch, which removes the overhead of
small networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from onebasin_studies.training.engines.chain_tracing import Layer
from onebasin_studies.training.engines.loss import Score, loss_and_grad
from onebasin_studies.training.engines.products import multiply
from onebasin_studies.training.stacks import Stack


@dataclass(frozen=True)
class Activation:
    """An activation whose derivative is a function of its output.

    Args:
        forward: applies the activation in place.
        backward: turns the gradient of the output, its first argument, into that of the input, in
            place; its second argument is the output.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _relu_backward(grad: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.grad_input(grad, output, 0, grad_input=grad)


def _tanh_backward(grad: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward.grad_input(grad, output, grad_input=grad)


def _sigmoid_backward(grad: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.sigmoid_backward.grad_input(grad, output, grad_input=grad)


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": Activation(torch.relu_, _relu_backward),
        "tanh": Activation(torch.tanh_, _tanh_backward),
        "sigmoid": Activation(torch.sigmoid_, _sigmoid_backward),
    }
)
"""The supported activations by the names of their operators."""


class ChainEngine:
    """The engine of chains of linear layers.

    Args:
        stack: the networks.
        layers: the layers in order; the last one has no activation.
    """

    def __init__(self, stack: Stack, layers: Sequence[Layer]) -> None:
        self._layers = [_Parameters.of(stack, layer) for layer in layers]
        self._activations = [ACTIVATIONS.get(layer.activation or "") for layer in layers]
        self._spaces: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def compute_gradients(self, inputs: Tensor, labels: Tensor) -> Score:
        """Compute the gradients of all networks; see `Engine`."""
        with torch.no_grad():
            values, grads = self._space(labels)
            values = [inputs.flatten(2), *values]
            for layer, activation, x, y in zip(
                self._layers[:-1], self._activations, values, values[1:], strict=False
            ):
                _forward(layer, x, y)
                if activation is not None:
                    activation.forward(y)
            logits = self._logits(values[-1])
            score, grad = loss_and_grad(logits, labels)
            self._backward(grad, values, grads)
        return score

    def _space(self, labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return reusable buffers for the values and gradients of a batch of this size."""
        num_networks, size = labels.shape
        if size not in self._spaces:
            values, grads = (
                [
                    layer.weight.new_empty(num_networks, size, layer.weight.shape[1])
                    for layer in self._layers[:-1]
                ]
                for _ in range(2)
            )
            self._spaces[size] = values, grads
        return self._spaces[size]

    def _logits(self, x: Tensor) -> Tensor:
        last = self._layers[-1]
        bias = None if last.bias is None else last.bias.unsqueeze(2)
        logits = x.new_empty(len(x), last.weight.shape[1], x.shape[1])
        multiply(last.weight, x.transpose(1, 2), logits, start=bias)
        return logits

    def _backward(self, grad: Tensor, values: list[Tensor], grads: list[Tensor]) -> None:
        """Backpropagate through the layers; the gradient of the logits has shape `(n, c, b)`."""
        across = grad
        for place in range(len(self._layers) - 1, -1, -1):
            layer, x = self._layers[place], values[place]
            multiply(across, x, layer.weight_gradient)
            if layer.bias_gradient is not None:
                torch.sum(across, 2, out=layer.bias_gradient)
            if place:
                below = grads[place - 1]
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
