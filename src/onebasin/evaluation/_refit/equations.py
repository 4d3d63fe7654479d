"""Normal equations of ridge regressions, accumulated over batches, and their solutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from onebasin._dtypes import compute_dtype

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges to choose from, as fractions of the mean square of the inputs about their mean."""

DEFAULT_RIDGE = 1e-2
"""The ridge without held-out examples."""


BLOCK = 128
"""Number of columns whose products are computed together."""


class NormalEquations:
    r"""Sums of \(X^T X\) and \(X^T E\) of `g` regressions with `d` inputs and `c` outputs.

    With a bias, the inputs are shifted by their mean in the first rows, so that sums are exact for
    inputs whose mean is much larger than their standard deviation. Solutions are not shifted.

    Args:
        has_bias: whether a one is appended to every row.

    Attributes:
        shift: subtracted from the inputs; zero without a bias.
        gram: the sum of products of inputs, in float64.
        cross: the sum of products of inputs and outputs, in float64.
        count: weighted number of rows.
    """

    def __init__(self, *, has_bias: bool) -> None:
        """Initialize without rows."""
        self.has_bias = has_bias
        self.shift: Float64[Tensor, "g _"] = torch.zeros(0, 0, dtype=torch.float64)
        self.gram: Float64[Tensor, "g d d"] = torch.zeros(0, 0, 0, dtype=torch.float64)
        self.cross: Float64[Tensor, "g d c"] = torch.zeros(0, 0, 0, dtype=torch.float64)
        self.count = 0.0

    def add(
        self, inputs: Float[Tensor, "g n d"], outputs: Float[Tensor, "g n c"], weight: float
    ) -> None:
        """Add rows.

        Args:
            inputs: rows of the layer's input.
            outputs: rows that the layer should reproduce.
            weight: weight of every row.
        """
        inputs = inputs.to(compute_dtype(inputs.dtype))
        outputs = outputs.to(inputs.dtype)
        if not self.count:
            groups, _, width = inputs.shape
            self.shift = _center(inputs) if self.has_bias else inputs.new_zeros(groups, width)
            self.shift = self.shift.double()
            width += self.has_bias
            self.gram = inputs.new_zeros(groups, width, width, dtype=torch.float64)
            self.cross = inputs.new_zeros(groups, width, outputs.shape[2], dtype=torch.float64)
        if self.has_bias:
            inputs = _with_ones(inputs, self.shift.to(inputs.dtype))
        self.gram.add_(_gram(inputs), alpha=weight)
        self.cross.add_(_product(inputs, outputs), alpha=weight)
        self.count += weight * inputs.shape[1]

    def add_tokens(
        self, tokens: Int64[Tensor, " n"], outputs: Float[Tensor, "n c"], num: int, weight: float
    ) -> None:
        """Add rows with a single one as input: one regression for each of `num` tokens.

        Args:
            tokens: index of the regression of each row.
            outputs: rows that the regressions should reproduce.
            num: number of regressions.
            weight: weight of every row.
        """
        if not self.count:
            self.shift = outputs.new_zeros(num, 1, dtype=torch.float64)
            self.gram = outputs.new_zeros(num, 1, 1, dtype=torch.float64)
            self.cross = outputs.new_zeros(num, 1, outputs.shape[1], dtype=torch.float64)
        ones = self.gram.new_full((len(tokens), 1, 1), weight)
        self.gram.index_add_(0, tokens, ones)
        self.cross.index_add_(0, tokens, outputs[:, None].double(), alpha=weight)
        self.count += weight * len(tokens)

    def __add__(self, other: NormalEquations) -> NormalEquations:
        """Return the equations of both together."""
        if not (self.count and other.count):
            return self if self.count else other
        total = NormalEquations(has_bias=self.has_bias)
        total.shift, total.count = self.shift, self.count + other.count
        gram, cross = other._shifted_to(self.shift)
        total.gram, total.cross = self.gram + gram, self.cross + cross
        return total

    def _shifted_to(self, shift: Float64[Tensor, "g d"]) -> tuple[Tensor, Tensor]:
        """Return both sums with another shift of the inputs."""
        if torch.equal(shift, self.shift):
            return self.gram, self.cross
        change = torch.eye(self.num_unknowns).to(self.gram).repeat(len(self.gram), 1, 1)
        change[:, -1, :-1] = self.shift - shift
        transposed = change.transpose(1, 2)
        return transposed @ self.gram @ change, transposed @ self.cross

    def _move_bias(self, solution: Float64[Tensor, "g d c"], sign: int) -> Tensor:
        """Return a solution for shifted inputs (`sign=1`), or for the inputs (`sign=-1`)."""
        if not self.has_bias:
            return solution
        moved = solution.clone()
        moved[:, -1] += sign * (self.shift[:, None] @ solution[:, :-1])[:, 0]
        return moved

    @property
    def num_unknowns(self) -> int:
        """The number of unknowns of each output."""
        return self.gram.shape[1]

    @property
    def is_finite(self) -> bool:
        """Whether all sums are finite."""
        return bool(torch.isfinite(self.gram).all() and torch.isfinite(self.cross).all())

    def solve(self, anchor: Float64[Tensor, "g d c"], ridge: float) -> Float64[Tensor, "g d c"]:
        r"""Return the minimizer of \(|XV-E|^2 + s|V-P|^2\); the bias has no penalty.

        Args:
            anchor: the solution \(P\) that the ridge pulls to; returned if the system is singular.
            ridge: \(s\) as a fraction of the mean square of the inputs; with a bias, of their
                mean square about the mean.
        """
        inner = self.num_unknowns - self.has_bias
        squares = self.gram.diagonal(dim1=1, dim2=2)[:, :inner]
        if self.has_bias:
            squares = squares - self.gram[:, -1, :-1].square() / self.count
        penalty = ridge * squares.mean(1, keepdim=True)
        # Inputs that are zero in all rows leave the anchor unchanged.
        penalty = torch.where(penalty > 0, penalty, 1.0)
        system = self.gram.clone()
        system.diagonal(dim1=1, dim2=2)[:, :inner].add_(penalty)
        factor, info = torch.linalg.cholesky_ex(system)
        if bool(info.any()):
            return anchor
        start = self._move_bias(anchor, 1)
        change = torch.cholesky_solve(self.cross - self.gram @ start, factor)
        return anchor + self._move_bias(change, -1)

    def without_bias(self) -> tuple[Float64[Tensor, "g d d"], Float64[Tensor, "g d c"]]:
        """Return both sums after the bias is eliminated."""
        if not self.has_bias:
            return self.gram, self.cross
        inner, last = self.gram[:, :-1], self.gram[:, -1:]
        mean = inner[:, :, -1:] / last[:, :, -1:]
        return inner[:, :, :-1] - mean @ last[:, :, :-1], self.cross[:, :-1] - mean @ self.cross[
            :, -1:
        ]

    def best_bias(self, matrix: Float64[Tensor, "g d c"]) -> Float64[Tensor, "g 1 c"]:
        """Return the bias with the smallest error for given other unknowns."""
        last = self.gram[:, -1:]
        bias = (self.cross[:, -1:] - last[:, :, :-1] @ matrix) / last[:, :, -1:]
        return bias - self.shift[:, None] @ matrix

    def error(self, solution: Float64[Tensor, "g d c"]) -> float:
        r"""Return \(|XV-E|^2 - |E|^2\)."""
        solution = self._move_bias(solution, 1)
        return float((solution * (self.gram @ solution - 2 * self.cross)).sum())

    def moments(
        self, matrix: Float64[Tensor, "g d c"]
    ) -> tuple[Float64[Tensor, "g c"], Float64[Tensor, "g c"]]:
        """Return mean and unbiased variance of the products of the inputs and a matrix.

        The equations must have a bias.
        """
        mean = torch.einsum("gd,gdc->gc", self.gram[:, -1, :-1] / self.count, matrix)
        squares = (matrix * (self.gram[:, :-1, :-1] @ matrix)).sum(1)
        variance = (squares - self.count * mean.square()) / max(self.count - 1, 1)
        return mean + (self.shift[:, None] @ matrix)[:, 0], variance.clamp(min=0)


def _center(rows: Float[Tensor, "g n d"]) -> Float[Tensor, "g d"]:
    """Return the mean of rows, exactly their value for constant columns."""
    mean = rows.mean(1, dtype=torch.float64).to(rows.dtype)
    return torch.where(rows.amin(1) == rows.amax(1), rows[:, 0], mean)


def _with_ones(rows: Float[Tensor, "g n d"], shift: Float[Tensor, "g d"]) -> Float[Tensor, "g n _"]:
    """Return shifted rows with a one at their end."""
    groups, number, width = rows.shape
    extended = rows.new_ones(groups, number, width + 1)
    torch.sub(rows, shift[:, None], out=extended[..., :-1])
    return extended


def _gram(rows: Float[Tensor, "g n d"]) -> Tensor:
    """Return the products of all columns with each other, each pair of blocks only once."""
    groups, _, width = rows.shape
    if width < 2 * BLOCK:
        return _product(rows, rows)
    gram = rows.new_empty(groups, width, width)
    for start in range(0, width, BLOCK):
        end = min(start + BLOCK, width)
        part = _product(rows[..., start:end], rows[..., start:])
        gram = gram.to(part.dtype)  # float64 after an overflow
        gram[:, start:end, start:] = part
        gram[:, start:, start:end] = part.transpose(1, 2)
    return gram


def _product(left: Float[Tensor, "g n d"], right: Float[Tensor, "g n c"]) -> Tensor:
    """Return the products of all columns, in float64 if they overflow otherwise."""
    product = left.transpose(1, 2) @ right
    if bool(torch.isfinite(product).all()):
        return product
    return left.double().transpose(1, 2) @ right.double()


@dataclass(frozen=True)
class Solution:
    """A chosen solution.

    Args:
        change: change of the layer.
        anchor: index of its anchor.
        ridge: its ridge, infinite if the solution is the anchor.
    """

    change: Float64[Tensor, "g d c"]
    anchor: int
    ridge: float


def choose(
    fitted: NormalEquations,
    held_out: NormalEquations,
    anchors: Sequence[Float64[Tensor, "g d c"]],
) -> Solution:
    """Choose anchor and ridge on held-out rows, and solve on all rows.

    Args:
        fitted: equations of the rows that candidates are solved on.
        held_out: equations of the held-out rows; without rows the default ridge is used.
        anchors: solutions that the ridge may pull to, the default last.
    """
    if not held_out.count:
        last = len(anchors) - 1
        return Solution(fitted.solve(anchors[last], DEFAULT_RIDGE), last, DEFAULT_RIDGE)
    candidates = [
        (held_out.error(anchor if ridge == inf else fitted.solve(anchor, ridge)), number, ridge)
        for number, anchor in enumerate(anchors)
        for ridge in (*RIDGES, inf)
    ]
    _, number, ridge = min(candidates)
    anchor = anchors[number]
    change = anchor if ridge == inf else (fitted + held_out).solve(anchor, ridge)
    return Solution(change, number, ridge)
