"""Relaxation of permutations to doubly stochastic matrices, for any symmetry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeAlias

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from onebasin.matching._assignment.linear import assign_many
from onebasin.symmetry._blocks import Block
from onebasin.symmetry._nesting import broadcast_index, outer_axes
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

Relaxed: TypeAlias = Mapping[str, Tensor]
"""Doubly stochastic matrices for every group, `(*pairs, n, n)`: row new, column old unit.

A nested group has one matrix for every pair of a new and an old unit of each outer group (two
dimensions), and for every position of a fixed axis (one dimension).
"""


class Relaxation:
    r"""The product of Birkhoff polytopes that contains the permutations of a symmetry.

    A relaxed permutation acts on a tensor by \(new_i = \sum_j P_{ij} old_j\) along every group's
    axis; for units d nested in o, by \(new_{oi} = \sum_{pj} P_{op} Q_{op,ij} old_{pj}\).

    Law: the matrices of a permutation act on a tensor as the permutation does.

    Args:
        symmetry: symmetry of the networks.
    """

    def __init__(self, symmetry: Symmetry) -> None:
        """Initialize; the parts of a tensor are computed on first use."""
        self.symmetry = symmetry
        self._parts: dict[str, list[tuple[Block, list[_Part]]]] = {}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every group's matrices."""
        shapes = {}
        for name, group in self.symmetry.groups.items():
            pairs = []
            for outer in group.nested_in:
                size = self.symmetry.size_of(outer)
                pairs += [size, size] if outer in self.symmetry.groups else [size]
            shapes[name] = (*pairs, group.size, group.size)
        return shapes

    def uniform(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return the barycenter: all entries are equal."""
        return {
            name: torch.full(shape, 1 / shape[-1], dtype=dtype)
            for name, shape in self.shapes.items()
        }

    def vertex(self, permutation: Permutation, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the matrices of a permutation.

        The index of a nested group does not depend on the old outer unit.
        """
        matrices = {}
        for name, index in permutation.indices.items():
            for place, outer in enumerate(reversed(self.symmetry.groups[name].nested_in)):
                if outer in self.symmetry.groups:
                    index = index.unsqueeze(index.dim() - 1 - place)
            index = index.expand(self.shapes[name][:-1])
            matrices[name] = one_hot(index, dtype)
        return matrices

    def rounded(self, relaxed: Relaxed) -> Permutation:
        """Return the nearest permutation, group by group."""
        return self.chosen({name: best_assignment(matrices) for name, matrices in relaxed.items()})

    def chosen(self, orders: Mapping[str, Tensor]) -> Permutation:
        """Return the permutation for indices at all pairs of outer units.

        Args:
            orders: for every group `(*pairs, n)`, the old position of each unit.
        """
        indices: dict[str, Tensor] = {}
        for name in sorted(orders, key=lambda name: len(self.symmetry.groups[name].nested_in)):
            indices[name] = self._at_pairs(name, orders[name], indices)
        return Permutation(self.symmetry, {name: indices[name] for name in orders})

    def sharpness(self, relaxed: Relaxed) -> float:
        """Return the minimum over groups of the mean largest entry of a row.

        It is 1 for a permutation. Only the pairs of outer units that are matched count.
        """
        chosen, fractions = self.rounded(relaxed), [1.0]
        for name, matrices in relaxed.items():
            most = self._at_pairs(name, matrices.detach().amax(-1), chosen.indices)
            fractions.append(float(most.mean()))
        return min(fractions)

    def _at_pairs(
        self, name: str, order: Shaped[Tensor, "*pairs n"], indices: Mapping[str, Tensor]
    ) -> Shaped[Tensor, "*outer n"]:
        """Select, at every new outer position, the index for the old unit that moves there."""
        nested_in = self.symmetry.groups[name].nested_in
        places: list[Tensor] = []
        for axis, outer in enumerate(nested_in):
            here = torch.arange(self.symmetry.size_of(outer))
            places.append(broadcast_index(here, [axis], len(nested_in)))
            if outer in self.symmetry.groups:
                own = self.symmetry.groups[outer].nested_in
                axes = [*(nested_in.index(each) for each in own), axis]
                places.append(broadcast_index(indices[outer], axes, len(nested_in)))
        return (order[tuple(places)] if places else order).contiguous()

    def move(self, name: str, tensor: Tensor, relaxed: Relaxed) -> Tensor:
        """Return a tensor permuted by a relaxed permutation.

        Args:
            name: name of the tensor in the symmetry.
            tensor: a contiguous floating-point tensor.
            relaxed: matrices of its dtype; gradients flow to them and to the tensor.
        """
        parts = self._parts_of(name)
        if len(parts) == 1 and parts[0][0].num_entries == tensor.numel():
            block, components = parts[0]
            return _moved(block.view(tensor), components, relaxed).reshape(tensor.shape)
        result = tensor.clone()
        for block, components in parts:
            if components:
                block.view(result).copy_(_moved(block.view(tensor), components, relaxed))
        return result

    def groups_of(self, name: str) -> tuple[str, ...]:
        """Return the groups that permute a tensor."""
        parts = (part for _, components in self._parts_of(name) for part in components)
        return tuple(dict.fromkeys(factor.group for part in parts for factor in part.factors))

    def degree(self, name: str) -> int:
        """Return the degree of a permuted tensor's entries in the matrices."""
        return max(
            (sum(len(p.factors) for p in components) for _, components in self._parts_of(name)),
            default=0,
        )

    def _parts_of(self, name: str) -> list[tuple[Block, list[_Part]]]:
        if name not in self._parts:
            blocks = self.symmetry.blocks[name]
            self._parts[name] = [(b, _parts(self.symmetry, name, b)) for b in blocks]
        return self._parts[name]


def best_assignment(similarity: Float[Tensor, "*pairs n n"]) -> Int[Tensor, "*pairs n"]:
    """Return the best assignment of every matrix."""
    stack = similarity.detach().reshape(-1, *similarity.shape[-2:]).cpu().contiguous()
    return assign_many(stack).view(similarity.shape[:-1])


def one_hot(index: Int[Tensor, "*pairs n"], dtype: torch.dtype) -> Float[Tensor, "*pairs n n"]:
    """Return the permutation matrices of indices."""
    matrices = torch.zeros(*index.shape, index.shape[-1], dtype=dtype)
    return matrices.scatter_(-1, index[..., None], 1)


def lerp(start: Relaxed, end: Relaxed, fraction: float) -> dict[str, Tensor]:
    """Return the point at a fraction of the way from start to end."""
    return {name: torch.lerp(start[name], end[name], fraction) for name in start}


@dataclass(frozen=True)
class _Factor:
    """The matrices of one group, with the block axis of each dimension.

    Args:
        group: name of the group.
        labels: label of every dimension of the matrices: an axis for a new position or a fixed
            one, the axis plus the number of axes for an old position.
    """

    group: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class _Part:
    """Coupled axes of a block: units and their nested units.

    Args:
        factors: factors of the joint matrix.
        fixed: axes that do not move but index the joint matrix.
        own: the axes that move.
        order: all axes of the block: fixed ones, others, own ones.
    """

    factors: tuple[_Factor, ...]
    fixed: tuple[int, ...]
    own: tuple[int, ...]
    order: tuple[int, ...]

    def matrix(self, relaxed: Relaxed) -> Float[Tensor, "f n n"]:
        """Return the joint matrix of the own axes at each position of the fixed ones."""
        num_axes, first = len(self.order), relaxed[self.factors[0].group]
        if len(self.factors) == 1 and not self.fixed:
            return first[None]
        operands = []
        for factor in self.factors:
            operands += [relaxed[factor.group], list(factor.labels)]
        old = [axis + num_axes for axis in self.own]
        joint = torch.einsum(*operands, [*self.fixed, *self.own, *old])
        width = prod(joint.shape[len(self.fixed) : len(self.fixed) + len(self.own)])
        return joint.reshape(-1, width, width)


def _parts(symmetry: Symmetry, name: str, block: Block) -> list[_Part]:
    """Return the moving axes of a block, coupled ones together."""
    nested_in = {group: symmetry.groups[group].nested_in for group in symmetry.groups}
    bound = outer_axes(block, nested_in, symmetry.shapes[name])
    moving = [a for a, f in enumerate(block.factors) if (f.group or "") in symmetry.groups]
    parts = []
    for own in _connected(moving, bound):
        fixed = sorted({o for axis in own for o in bound[axis]} - set(own))
        others = [a for a in range(len(block.factors)) if a not in own and a not in fixed]
        factors = tuple(_factor(block, axis, own, bound) for axis in own)
        parts.append(_Part(factors, tuple(fixed), tuple(own), (*fixed, *others, *own)))
    return parts


def _factor(
    block: Block, axis: int, own: Iterable[int], bound: tuple[tuple[int, ...], ...]
) -> _Factor:
    labels = []
    for each in (*bound[axis], axis):
        labels += [each, each + len(bound)] if each in own else [each]
    return _Factor(block.factors[axis].group or "", tuple(labels))


def _connected(moving: list[int], bound: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Return the moving axes in sets of coupled axes."""
    sets: list[set[int]] = []
    for axis in moving:
        joined = {axis, *(o for o in bound[axis] if o in moving)}
        for each in [each for each in sets if each & joined]:
            sets.remove(each)
            joined |= each
        sets.append(joined)
    return [sorted(each) for each in sets]


def _moved(values: Tensor, parts: list[_Part], relaxed: Relaxed) -> Tensor:
    for part in parts:
        matrix = part.matrix(relaxed)
        arranged = values.permute(part.order)
        flat = arranged.reshape(len(matrix), -1, matrix.shape[-1])
        moved = flat @ matrix.mT
        back = sorted(range(len(part.order)), key=part.order.__getitem__)
        values = moved.reshape(arranged.shape).permute(back)
    return values
