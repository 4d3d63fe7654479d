"""BatchNorm that is refit together with the layer before it, as one affine map.

In evaluation mode a layer and its BatchNorm compute `V x + c`. After `V` and `c` are refit, the
running statistics are those of the refit layer on the data, and scale and shift are adapted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from onebasin.evaluation._refit.equations import NormalEquations, Solution

TENSORS = ("weight", "bias", "running_mean", "running_var")
"""Arguments of a BatchNorm node that are refit."""

SMALLEST_SCALE = 1e-3
"""Scales below this fraction of the largest one of a norm are not divided by."""


@dataclass(frozen=True)
class FoldedNorm:
    """A layer and its BatchNorm as an affine map.

    Args:
        tensors: scale and shift, if it has them, and running statistics; overwritten by `write`.
        eps: the number added to the variance.
        matrix: weight of the layer; ones for a norm on its own.
        offset: bias of the layer.
        equations: the regression of all rows; its count and Gram matrix are used.
    """

    tensors: Mapping[str, Tensor]
    eps: float
    matrix: Float64[Tensor, "g d c"]
    offset: Float64[Tensor, "g c"]
    equations: NormalEquations

    def _tensor(self, name: str) -> Float64[Tensor, "g c"]:
        if name not in self.tensors:
            return torch.full_like(self.offset, float(name == "weight"))
        return self.tensors[name].double().view_as(self.offset)

    @property
    def is_affine(self) -> bool:
        """Whether the norm has a scale and a shift."""
        return {"weight", "bias"}.issubset(self.tensors)

    def _scales(self) -> list[Float64[Tensor, "g c"]]:
        """Return the scale with the present statistics, and with those of the data."""
        fresh = self.equations.moments(self.matrix)[1]
        variances = (self._tensor("running_var"), fresh)
        return [self._tensor("weight") / (each + self.eps).sqrt() for each in variances]

    def _map(self) -> Float64[Tensor, "g d c"]:
        """Return the map with the present statistics; the last row is the constant."""
        scale = self._scales()[0]
        shift = self._tensor("bias") + scale * (self.offset - self._tensor("running_mean"))
        return _joined(self.matrix * scale[:, None], shift)

    def anchors(self) -> list[Float64[Tensor, "g d c"]]:
        """Return no change, and the change of the map if statistics are reset."""
        mean = self.equations.moments(self.matrix)[0]
        _, scale = self._scales()
        fresh = _joined(self.matrix * scale[:, None], self._tensor("bias") - scale * mean)
        return [torch.zeros_like(fresh), fresh - self._map()]

    def write(self, solution: Solution, *, has_weight: bool) -> Float64[Tensor, "g d c"]:
        """Overwrite the tensors of the norm, and return the new weight of the layer.

        Args:
            solution: the change of the map.
            has_weight: whether the weight of the layer may change.
        """
        mapped = self._map() + solution.change
        matrix, shift = mapped[:, :-1], mapped[:, -1]
        if has_weight:
            scale = self._scales()[solution.anchor]
            scale = torch.where(scale.abs() > SMALLEST_SCALE * scale.abs().max(), scale, 1.0)
            matrix = matrix / scale[:, None]
        else:
            scale, matrix = matrix[:, 0], self.matrix
        mean, variance = self.equations.moments(matrix)
        changed = (
            scale * (variance + self.eps).sqrt(),
            shift + scale * mean,
            mean + self.offset,
            variance,
        )
        for name, value in zip(TENSORS, changed, strict=True):
            self.tensors[name].copy_(value.view_as(self.tensors[name]))
        return matrix

    def write_statistics(self) -> None:
        """Overwrite the running statistics with those of the data."""
        mean, variance = self.equations.moments(self.matrix)
        for name, value in (("running_mean", mean + self.offset), ("running_var", variance)):
            self.tensors[name].copy_(value.view_as(self.tensors[name]))


def _joined(matrix: Float64[Tensor, "g d c"], shift: Float64[Tensor, "g c"]) -> Tensor:
    return torch.cat((matrix, shift[:, None]), 1)
