"""Terms: what one block of one tensor adds to the similarity of one group.

With the group's axis last and all others flattened into rows, A is `(rows, n)` and B the
same; the other groups move B's rows, and the similarity is `A.T @ B[source]`. When few
rows moved since the last time only they are multiplied again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch
from torch import Tensor

from onebasin.symmetry.blocks import Block, Factor
from onebasin.symmetry.symmetry import Symmetry

Indices = Mapping[str, Tensor]
Reader = Callable[[], Tensor]


class Term:
    """One block seen from one group, or from a group and one that nests in it.

    Args:
        symmetry: says what nests in what.
        group: the group.
        block: a block that carries it.
        columns: which of the block's axes are the columns, outermost first. Other axes of
            the same group count as rows that the group itself moves: the linearisation of
            a quadratic term.
        read_a, read_b: give the block's entries of A and B in float32, one axis per factor.
        hold: whether to keep both rearranged for the next time.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        group: str,
        block: Block,
        columns: tuple[int, ...],
        read_a: Reader,
        read_b: Reader,
        *,
        hold: bool,
    ) -> None:
        outers = [_axis_of(block, name) for name in symmetry.groups[group].within]
        rows = [i for i in range(len(block.factors)) if i not in (*columns, *outers)]
        self.block = block
        self.axes = [*outers, *rows, *columns]
        self.factors = [block.factors[i] for i in (*outers, *rows)]
        self.columns = [block.factors[i] for i in columns]
        self.size = prod(factor.size for factor in self.columns)
        self.num_outer = prod(symmetry.outer_shape(group))
        self.within = {n: g.within for n, g in symmetry.groups.items() if n in block.groups}
        names = {factor.group for factor in self.factors if factor.group is not None}
        self.neighbours = frozenset(names & symmetry.groups.keys())
        self.is_quadratic = group in self.neighbours
        self.read_a, self.read_b, self.hold = read_a, read_b, hold
        self.held: tuple[Tensor, Tensor] | None = None
        self.source: Tensor | None = None

    def update(self, similarity: Tensor, indices: Indices) -> bool:
        """Bring this term's share of a similarity `(outer, n, n)` up to date, in place.

        Returns:
            Whether anything changed.
        """
        source = self.sources(indices)
        if self.source is None:
            a, b = self.rows()
            _add(similarity, a, b[source] if source is not None else b)
        elif source is None or torch.equal(source, self.source):
            return False
        else:
            moved = (source != self.source).nonzero().flatten()
            a, b = self.rows()
            self._correct(similarity, a, b, moved, source)
        self.source = source if source is not None else torch.empty(0)
        return True

    def _correct(
        self, similarity: Tensor, a: Tensor, b: Tensor, moved: Tensor, source: Tensor
    ) -> None:
        """Add what the moved rows change."""
        assert self.source is not None
        per_outer = a.shape[0] // self.num_outer
        for outer in range(self.num_outer):
            inside = moved
            if self.num_outer > 1:
                inside = moved[(moved >= outer * per_outer) & (moved < (outer + 1) * per_outer)]
            if len(inside):
                part = a if len(inside) == a.shape[0] else a[inside]
                change = b.index_select(0, source[inside])
                change -= b.index_select(0, self.source[inside])
                similarity[outer].addmm_(part.T, change)

    def value(self, indices: Indices) -> float:
        """Return what the block adds to the objective, summed in float64."""
        a, b = self.rows()
        factors = [*self.factors, *self.columns]
        source = row_sources(factors, self.within, indices)
        moved = b.reshape(-1)[source]
        return float(torch.dot(a.reshape(-1).double(), moved.double()))

    def forget(self) -> None:
        """Start anew: the next update adds the whole share."""
        self.source = None

    def rows(self) -> tuple[Tensor, Tensor]:
        """Return A and B as `(outer * rows, n)`."""
        if self.held is not None:
            return self.held
        pair = (self._arranged(self.read_a()), self._arranged(self.read_b()))
        if self.hold:
            self.held = pair
        return pair

    def _arranged(self, tensor: Tensor) -> Tensor:
        return tensor.permute(self.axes).reshape(-1, self.size)

    def sources(self, indices: Indices) -> Tensor | None:
        """Return for every row of moved B the row of B it comes from; None where none moves."""
        if not self.neighbours:
            return None
        return row_sources(self.factors, self.within, indices)


def row_sources(
    factors: list[Factor], within: Mapping[str, tuple[str, ...]], indices: Indices
) -> Tensor:
    """Return where each entry of a box with these axes comes from, flattened, row-major."""
    shape = [factor.size for factor in factors]
    total = torch.zeros(shape, dtype=torch.int64)
    places = {factor.group: i for i, factor in enumerate(factors)}
    for i, factor in enumerate(factors):
        step = prod(shape[i + 1 :])
        if factor.group is not None and factor.group in indices:
            coordinate = _spread(indices[factor.group], factor, i, within, places, len(shape))
        else:
            coordinate = torch.arange(factor.size).view([-1] + [1] * (len(shape) - i - 1))
        total += coordinate * step
    return total.flatten()


def _spread(
    index: Tensor,
    factor: Factor,
    axis: int,
    within: Mapping[str, tuple[str, ...]],
    places: Mapping[str | None, int],
    rank: int,
) -> Tensor:
    """Return an index tensor with its outer axes and its own at their places in the box."""
    axes = [places[name] for name in within[str(factor.group)]] + [axis]
    order = sorted(range(len(axes)), key=lambda k: axes[k])
    shape = [1] * rank
    for k, place in enumerate(axes):
        shape[place] = index.shape[k]
    return index.permute(order).reshape(shape)


def _add(similarity: Tensor, a: Tensor, b: Tensor) -> None:
    outer = similarity.shape[0]
    if outer == 1:
        similarity[0].addmm_(a.T, b)
    else:
        size = similarity.shape[-1]
        similarity.baddbmm_(a.view(outer, -1, size).transpose(1, 2), b.view(outer, -1, size))


def _axis_of(block: Block, name: str) -> int:
    places = [i for i, factor in enumerate(block.factors) if factor.group == name]
    assert len(places) == 1, f"{name} must occur once where a group nests in it"
    return places[0]
