"""The joint regression of a weight that several layers use, such as an embedding and a head.

With `V` the change of the weight, the equations of all uses are `L V + V R = C`: `L` is the sum of
the Gram matrices of the uses that multiply rows by the weight, `R` that of its transpose. They are
solved exactly by the eigenvectors of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import inf
from operator import add

import torch
from jaxtyping import Float64
from torch import Tensor

from onebasin.evaluation._refit.equations import DEFAULT_RIDGE, RIDGES, NormalEquations
from onebasin.evaluation._refit.layers import RefitLayer, Tie
from onebasin.evaluation._refit.operators import Dense, Embedding, Operator


@dataclass(frozen=True)
class TiedUse:
    """A layer that uses a weight which other layers use too.

    Args:
        layer: the layer.
        operator: its regression.
        fitted, held_out: equations of its rows.
    """

    layer: RefitLayer
    operator: Operator
    fitted: NormalEquations
    held_out: NormalEquations

    @property
    def tie(self) -> Tie:
        """The shared tensors of the layer."""
        assert self.layer.tie is not None
        return self.layer.tie

    @property
    def is_transposed(self) -> bool:
        """Whether rows are multiplied by the transpose of the weight."""
        return isinstance(self.operator, Dense) and (
            self.operator.is_transposed == self.tie.is_reversed
        )

    def transposed(self, matrix: Float64[Tensor, "g d c"]) -> Tensor:
        """Return a matrix of the layer as one of the weight, or the reverse."""
        if isinstance(self.operator, Embedding):
            return matrix.transpose(0, 1)
        return matrix.transpose(1, 2) if self.is_transposed else matrix

    def parameter(self, matrix: Float64[Tensor, "g d c"], shape: torch.Size) -> Tensor:
        """Return a matrix of the weight with the shape of the parameter."""
        if isinstance(self.operator, Dense | Embedding):
            return matrix.reshape(shape)
        return self.operator.weight(matrix, shape)


@dataclass(frozen=True)
class JointChange:
    """The change of a shared weight and of the biases of its uses.

    Args:
        change: change of the weight, as a matrix of its uses.
        biases: change of each bias by the name of the parameter.
        ridge: the chosen ridge, infinite if nothing changes.
    """

    change: Float64[Tensor, "g d c"]
    biases: dict[str, Tensor]
    ridge: float


class JointEquations:
    """The equations of all uses of a weight.

    Args:
        uses: the uses.
        equations_of: function that returns the equations of a use.
    """

    def __init__(
        self, uses: Sequence[TiedUse], equations_of: Callable[[TiedUse], NormalEquations]
    ) -> None:
        """Add the equations of the uses, those with the same bias first."""
        self.parts = [(group[0], reduce(add, map(equations_of, group))) for group in _by_bias(uses)]

    @property
    def count(self) -> float:
        """The number of rows of all uses."""
        return sum(equations.count for _, equations in self.parts)

    def factorize(self) -> Factors:
        """Return the equations without the biases, by their eigenvectors."""
        sides: dict[bool, list[Tensor]] = {False: [], True: []}
        cross: list[Tensor] = []
        for use, equations in self.parts:
            gram, product = equations.without_bias()
            is_lookup = isinstance(use.operator, Embedding)
            sides[use.is_transposed].append(gram.view(1, -1) if is_lookup else gram)
            cross.append(use.transposed(product))
        total = reduce(add, cross)
        left, right = (_eigen(sides[side]) for side in (False, True))
        return Factors(*left, *right, total)

    def with_biases(self, change: Tensor) -> Iterator[tuple[TiedUse, NormalEquations, Tensor]]:
        """Yield use, equations and the change of its map, with the best change of the bias."""
        for use, equations in self.parts:
            matrix = use.transposed(change)
            if equations.has_bias:
                matrix = torch.cat((matrix, equations.best_bias(matrix)), 1)
            yield use, equations, matrix


@dataclass(frozen=True)
class Factors:
    """Equations `L V + V R = C` by the eigenvalues and eigenvectors of both sides.

    Args:
        left, right: eigenvalues.
        left_vectors, right_vectors: eigenvectors; None for a diagonal matrix.
        cross: the right-hand side.
    """

    left: Float64[Tensor, "_ _"]
    left_vectors: Float64[Tensor, "g d d"] | None
    right: Float64[Tensor, "_ _"]
    right_vectors: Float64[Tensor, "g c c"] | None
    cross: Float64[Tensor, "g d c"]

    def solve(self, ridge: float) -> Float64[Tensor, "g d c"]:
        """Return the solution with a ridge, as a fraction of the mean diagonal entry."""
        penalty = ridge * (self.left.mean(1) + self.right.mean(1))[:, None, None]
        penalty = torch.where(penalty > 0, penalty, 1.0)
        rotated = self.cross
        if self.left_vectors is not None:
            rotated = self.left_vectors.transpose(1, 2) @ rotated
        if self.right_vectors is not None:
            rotated = rotated @ self.right_vectors
        solved = rotated / (self.left[:, :, None] + self.right[:, None, :] + penalty)
        if self.left_vectors is not None:
            solved = self.left_vectors @ solved
        if self.right_vectors is not None:
            solved = solved @ self.right_vectors.transpose(1, 2)
        return solved


def _eigen(grams: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return eigenvalues and eigenvectors of a sum; matrices without off-diagonals are vectors."""
    if not grams:
        return torch.zeros(1, 1, dtype=torch.float64), None
    if all(gram.dim() == 2 for gram in grams):
        return reduce(add, grams), None
    total = reduce(add, (gram if gram.dim() == 3 else gram.diag_embed() for gram in grams))
    values, vectors = torch.linalg.eigh(total)
    return values.clamp(min=0), vectors


def _by_bias(uses: Sequence[TiedUse]) -> list[list[TiedUse]]:
    groups: dict[str, list[TiedUse]] = {}
    for use in uses:
        groups.setdefault(use.tie.bias or use.layer.node, []).append(use)
    return list(groups.values())


def fit_jointly(uses: Sequence[TiedUse]) -> JointChange:
    """Return the change of a weight that its uses agree on; the ridge is chosen as for `choose`.

    Args:
        uses: all uses of the weight.
    """
    fitted, held_out, total = (
        JointEquations(uses, each)
        for each in (
            lambda use: use.fitted,
            lambda use: use.held_out,
            lambda use: use.fitted + use.held_out,
        )
    )
    factors = total.factorize()
    ridge = DEFAULT_RIDGE
    if not bool(factors.cross.any()) and not any(eq.cross.any() for _, eq in total.parts):
        ridge = inf  # equal networks: rounding must not change them
    elif held_out.count:
        parts = fitted.factorize()
        errors = {each: _error(fitted, held_out, parts.solve(each)) for each in RIDGES}
        ridge = min(errors, key=lambda each: errors[each])
        ridge = ridge if errors[ridge] < 0 else inf
    if ridge == inf:
        return JointChange(torch.zeros_like(factors.cross), {}, inf)
    change = factors.solve(ridge)
    biases = {
        use.tie.bias: matrix[:, -1]
        for use, _, matrix in total.with_biases(change)
        if use.tie.bias is not None
    }
    return JointChange(change, biases, ridge)


def _error(fitted: JointEquations, held_out: JointEquations, change: Tensor) -> float:
    """Return the change of the squared error on held-out rows."""
    solutions = (matrix for _, _, matrix in fitted.with_biases(change))
    return sum(
        equations.error(matrix)
        for (_, equations), matrix in zip(held_out.parts, solutions, strict=True)
    )
