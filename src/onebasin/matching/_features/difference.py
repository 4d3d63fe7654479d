"""Functional differences between units of A and B on the inputs of one layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree
from onebasin.matching._features.layer_axes import LayerPair
from onebasin.matching._features.layers import Layer


class DifferenceLayer(LayerPair):
    """A layer of both networks and the functional differences of its units."""

    def __post_init__(self) -> None:
        """Compute the weights and moments."""
        super().__post_init__()
        self.aa, self.bb = (each.cpu().double() for each in (self.moments.aa, self.moments.bb))
        self.w_a, self.w_b = (_rows(self.layer, p) for p in (self.params_a, self.params_b))

    def add(self, sums: dict[Key, Tensor], tree: Tree, indices: Indices) -> None:
        """Add minus the differences of a tree's units, with B's inputs permuted by `indices`."""
        differences = functional_differences(*self._moved(indices))
        self.axes.add(sums, tree, self.out, -differences, indices)

    def _moved(
        self, indices: Indices
    ) -> tuple[
        Float64[Tensor, "n d"],
        Float64[Tensor, "n d"],
        Float64[Tensor, "d d"],
        Float64[Tensor, "d d"],
    ]:
        out = self.axes.sources(self.out, indices)
        inner = self.axes.sources(self.inner, indices)
        inner = torch.cat((inner, torch.tensor([len(inner)])))
        return self.w_a, self.w_b[out][:, inner], self.aa, self.bb[inner][:, inner]


def functional_differences(
    w_a: Float64[Tensor, "n d"],
    w_b: Float64[Tensor, "n d"],
    h_a: Float64[Tensor, "d d"],
    h_b: Float64[Tensor, "d d"],
) -> Float64[Tensor, "n n"]:
    r"""Return \(\frac12 (w_i - w_j)^\top (H_A^{-1} + H_B^{-1})^{-1} (w_i - w_j)\) for all pairs.

    Args:
        w_a, w_b: weights with one row for each unit of A and of B.
        h_a, h_b: second moments of their inputs; they may be singular.

    Returns:
        Non-negative differences; row i is unit i of A.
    """
    middle = parallel_sum(h_a, h_b)
    left, right = w_a @ middle, w_b @ middle
    squares = (left * w_a).sum(1)[:, None] + (right * w_b).sum(1)[None]
    return (squares / 2 - left @ w_b.T).clamp(min=0)


def parallel_sum(a: Float64[Tensor, "d d"], b: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    r"""Return \(A (A + B)^+ B\), which equals \((A^{-1} + B^{-1})^{-1}\) for invertible matrices.

    Args:
        a, b: symmetric positive semidefinite matrices.
    """
    result = a @ torch.linalg.pinv(a + b, hermitian=True) @ b
    return (result + result.T) / 2


def _rows(layer: Layer, params: Mapping[str, Tensor]) -> Float64[Tensor, "n d"]:
    """Return one row for each unit, with its bias last."""
    weight = layer.matrix(params).cpu().double()
    bias = (
        params[layer.bias].detach().cpu().double() if layer.bias else weight.new_zeros(len(weight))
    )
    return torch.cat((weight, bias[:, None]), dim=1)
