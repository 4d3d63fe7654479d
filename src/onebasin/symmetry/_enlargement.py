"""Enlarged networks, whose units are merged from all source networks or kept from one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Int64
from torch import Tensor

from onebasin._dtypes import compute_dtype, is_inexact
from onebasin.symmetry.layouts import Family, Layout, Product, Sum, Units, children, leaves
from onebasin.symmetry.symmetry import Symmetry

ABSENT = -1
"""Index of a unit that a network does not have."""


@dataclass(frozen=True)
class Enlargement:
    r"""The units of an enlarged network, in terms of the units of its sources.

    A merged unit takes one unit of every source, a separate unit takes one unit of one source.
    Values of merged units are \(\sum_k w_k h_k\), values of separate units are \(h_k\).

    Args:
        symmetry: symmetry of the sources, which are aligned.
        units: for each enlarged group the unit of each source that a new unit takes, or `ABSENT`.
        weights: weights of the sources; their sum is 1.
    """

    symmetry: Symmetry
    units: Mapping[str, Int64[Tensor, "num_sources _"]]
    weights: Sequence[int | float]

    @classmethod
    def split(
        cls, symmetry: Symmetry, chosen: Mapping[str, Tensor], weights: Sequence[int | float]
    ) -> Enlargement:
        """Return the enlargement in which some units are separate and all others are merged.

        The merged units come first, then the separate units of each source.

        Args:
            symmetry: symmetry of the sources.
            chosen: the units of each group that are separate, as a boolean for each unit.
            weights: weights of the sources.
        """
        units = {
            group: _units(separate, len(weights))
            for group, separate in chosen.items()
            if bool(separate.any())
        }
        return cls(symmetry, units, weights)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor of the enlarged network."""
        return tuple(map(self._size, self.symmetry.layouts[name]))

    @property
    def num_parameters(self) -> int:
        """The number of parameters of the enlarged network; tied ones count once."""
        return sum(prod(self.shape(name)) for name in self._parameters())

    @property
    def num_kept(self) -> int:
        """The number of parameters without those between separate units of different sources."""
        return sum(self._num_kept(self.symmetry.layouts[name]) for name in self._parameters())

    def _parameters(self) -> Iterator[str]:
        omitted = {*self.symmetry.buffers, *(n for names in self.symmetry.tied for n in names[1:])}
        return (name for name in self.symmetry.layouts if name not in omitted)

    def _num_kept(self, layouts: Sequence[Layout]) -> int:
        present = [self._all(self._taken(layout), layout) >= 0 for layout in layouts]
        merged = prod(int(each.all(0).sum()) for each in present)
        own = (prod(int(each[k].sum()) for each in present) for k in range(len(self.weights)))
        return sum(own) - (len(self.weights) - 1) * merged

    def params(
        self,
        params_list: Sequence[Mapping[str, Tensor]],
        contracted: Mapping[str, Collection[int]],
    ) -> dict[str, Tensor]:
        """Return the parameters and buffers of the enlarged network.

        With equal sources, or with separate units only, its output is the mean output.

        Args:
            params_list: parameters and buffers of the aligned sources.
            contracted: for each parameter the dimensions over which a layer sums.
        """
        enlarged: dict[str, Tensor] = {}
        first = {name: names[0] for names in self.symmetry.tied for name in names}
        for name in params_list[0]:
            source = first.get(name, name)
            if source not in enlarged:
                tensors = [params[name] for params in params_list]
                layouts = self.symmetry.layouts[name]
                enlarged[source] = self.mix(layouts, tensors, contracted.get(name, ()))
            enlarged[name] = enlarged[source]
        return {name: enlarged[name] for name in params_list[0]}

    def mix(
        self, layouts: Sequence[Layout], tensors: Sequence[Tensor], contracted: Collection[int] = ()
    ) -> Tensor:
        r"""Return the tensor of the enlarged network that belongs to tensors of the sources.

        An entry of source k counts \(w_k / \sum_j w_j\), with the sum over the sources that have
        the units of the entry in the dimensions that are not contracted.

        Args:
            layouts: layouts of the tensors.
            tensors: a tensor of each source.
            contracted: dimensions over which a layer sums.
        """
        units = [self._taken(layout) for layout in layouts]
        moved = {dim: each for dim, each in enumerate(units) if each is not None}
        first = tensors[0]
        if not is_inexact(first.dtype):
            return _gathered(first, {dim: each[0].clamp(min=0) for dim, each in moved.items()})
        dtype = compute_dtype(first.dtype)
        weights = torch.tensor(self.weights, dtype=torch.float64).view(-1, *[1] * first.dim())
        shape = [moved[dim].shape[1] if dim in moved else n for dim, n in enumerate(first.shape)]
        mixed = torch.zeros(shape, dtype=dtype, device=first.device)
        for number, tensor in enumerate(tensors):
            # Only the entries that the source has: zeros between sources use no memory.
            new = {dim: (each[number] >= 0).nonzero()[:, 0] for dim, each in moved.items()}
            part = _gathered(tensor, {dim: moved[dim][number, index] for dim, index in new.items()})
            outer = {d: moved[d][:, index] for d, index in new.items() if d not in contracted}
            total = (weights * _present(outer, weights)).sum(0)
            share = weights[number] / torch.where(total == 0, 1.0, total)
            _add_at(mixed, new, part.to(mixed.device, dtype) * share.to(mixed.device, dtype))
        return mixed.to(first.dtype)

    def spread(self, layouts: Sequence[Layout], tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return tensors of the enlarged network whose weighted mean is that of `mix`.

        Where a source does not have the units of an entry, its tensor has the mixed value.

        Args:
            layouts: layouts of the tensors.
            tensors: a tensor of each source.
        """
        units = [self._taken(layout) for layout in layouts]
        moved = {dim: each for dim, each in enumerate(units) if each is not None}
        if not moved:
            return list(tensors)
        mixed = self.mix(layouts, tensors)
        present = _present(moved, torch.ones(len(tensors), *[1] * tensors[0].dim()))
        spread = []
        for number, tensor in enumerate(tensors):
            own = _gathered(tensor, {d: each[number].clamp(min=0) for d, each in moved.items()})
            spread.append(torch.where(present[number].to(own.device), own, mixed))
        return spread

    def _size(self, layout: Layout) -> int:
        taken = self._taken(layout)
        return layout.size if taken is None else taken.shape[1]

    def _taken(self, layout: Layout) -> Int64[Tensor, "num_sources size"] | None:
        """Return the position that each new one takes from each source; None if unchanged."""
        match layout:
            case Units(group):
                return self.units.get(group)
            case Product(parts) | Sum(parts) | Family(_, parts):
                taken = [self._taken(part) for part in parts]
                if all(each is None for each in taken):
                    return None
                assert not isinstance(layout, Family), "families are not enlarged"
                join = _product if isinstance(layout, Product) else _sum
                return join([self._all(*pair) for pair in zip(taken, parts, strict=True)], parts)
            case _:
                return None

    def _all(self, taken: Tensor | None, layout: Layout) -> Tensor:
        if taken is not None:
            return taken
        return torch.arange(layout.size).expand(len(self.weights), -1)


def groups_to_enlarge(symmetry: Symmetry) -> tuple[list[str], dict[str, str]]:
    """Return the groups that an `Enlargement` can have, and reasons for the others.

    Args:
        symmetry: symmetry of the sources.
    """
    in_families = {
        leaf.group
        for layouts in symmetry.layouts.values()
        for layout in layouts
        for family in _families(layout)
        for leaf in leaves(family)
        if isinstance(leaf, Units)
    }
    reasons = {}
    for name, group in symmetry.groups.items():
        if group.nested_in:
            reasons[name] = "its units have an order for each unit of another group"
        elif name in in_families:
            reasons[name] = "its tensors are stored together with those of other groups"
    return [name for name in symmetry.groups if name not in reasons], reasons


def _families(layout: Layout) -> Iterator[Family]:
    if isinstance(layout, Family):
        yield layout
    for child in children(layout):
        yield from _families(child)


def _units(separate: Tensor, num_sources: int) -> Tensor:
    """Return the units of each source that the units of an enlarged group take."""
    merged, kept = (~separate).nonzero()[:, 0], separate.nonzero()[:, 0]
    own = torch.full((num_sources, num_sources, len(kept)), ABSENT)
    own[range(num_sources), range(num_sources)] = kept
    return torch.cat((merged.expand(num_sources, -1), own.flatten(1)), 1)


def _product(taken: Sequence[Tensor], parts: Sequence[Layout]) -> Tensor:
    """Return positions along flattened dimensions."""
    joined, known = torch.zeros(len(taken[0]), 1, dtype=torch.int64), None
    for each, part in zip(taken, parts, strict=True):
        inner = each[:, None]
        joined = (joined[:, :, None] * part.size + inner).flatten(1)
        present = inner >= 0 if known is None else known[:, :, None] & (inner >= 0)
        known = present.flatten(1)
    assert known is not None, "a product has factors"
    return torch.where(known, joined, ABSENT)


def _sum(taken: Sequence[Tensor], parts: Sequence[Layout]) -> Tensor:
    """Return positions along concatenated dimensions."""
    joined, offset = [], 0
    for each, part in zip(taken, parts, strict=True):
        joined.append(torch.where(each >= 0, each + offset, ABSENT))
        offset += part.size
    return torch.cat(joined, 1)


def _gathered(tensor: Tensor, positions: Mapping[int, Tensor]) -> Tensor:
    """Return the entries of a tensor at some positions of some dimensions."""
    for dim, index in positions.items():
        tensor = tensor.index_select(dim, index.to(tensor.device))
    return tensor


def _add_at(mixed: Tensor, positions: Mapping[int, Tensor], part: Tensor) -> None:
    """Add a part to a tensor at some positions of some dimensions."""
    positions = {dim: index.to(mixed.device) for dim, index in positions.items()}
    if not positions:
        mixed += part
    elif len(positions) == 1:
        ((dim, index),) = positions.items()
        mixed.index_add_(dim, index, part)
    else:
        ranges = (torch.arange(size, device=mixed.device) for size in mixed.shape)
        grid = [positions.get(dim, each) for dim, each in enumerate(ranges)]
        shapes = [[-1 if dim == own else 1 for dim in range(len(grid))] for own in range(len(grid))]
        mixed[tuple(each.view(shape) for each, shape in zip(grid, shapes, strict=True))] += part


def _present(taken: Mapping[int, Tensor], shares: Tensor) -> Tensor:
    """Return whether each source has the units of an entry; of the shape of an entry or 1."""
    present = torch.ones_like(shares, dtype=torch.bool)
    for dim, each in taken.items():
        shape = [len(each)] + [1] * (shares.dim() - 1)
        shape[dim + 1] = each.shape[1]
        present = present & (each >= 0).view(shape)
    return present
