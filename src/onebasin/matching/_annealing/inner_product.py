"""States for the inner product: a swap exchanges entries of B and corrects their products."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from onebasin.matching._annealing.state import AnnealingState, NetworkIndices, Swap, transposition
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.symmetry._apply import IndexApplier
from onebasin.symmetry.layouts import Layout, Units
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


class InnerProductState(AnnealingState):
    """A state of B alone, network 1, whose energy is `-<A, P(B)>`, in float64.

    All tensors are concatenated into one vector. A swap is applied after the current permutation,
    so the entries that it exchanges do not depend on the state.

    Args:
        pair: both networks, after `compute_stats`. They must be small: the entries of every swap
            are cached.
    """

    def __init__(self, pair: Pair) -> None:
        """Concatenate the tensors of both networks."""
        self.pair, self.symmetry = pair, pair.symmetry
        tensors = [pair.read(name) for name in pair.names]
        self.a, self.b = (
            np.concatenate(
                [np.empty(0), *(tensor[side].double().numpy().ravel() for tensor in tensors)]
            )
            for side in (0, 1)
        )
        self._identity = Permutation.identity(self.symmetry).indices
        self.index = np.concatenate(
            [np.empty(0, np.int64), *(each.numpy().ravel() for each in self._identity.values())]
        )
        self._places: dict[Swap, tuple[np.ndarray, ...]] = {}
        super().__init__(-float(self.a @ self.b))

    @property
    def indices(self) -> NetworkIndices:
        """The current indices."""
        indices, start = {}, 0
        for name, index in self._identity.items():
            own = self.index[start : start + index.numel()]
            indices[name] = torch.from_numpy(own.reshape(index.shape).copy())
            start += index.numel()
        return dict(self._identity), indices

    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after one swap."""
        (swap,) = swaps
        if swap not in self._places:
            self._places[swap] = self._find(swap)
        self._proposed = to, source, *_ = self._places[swap]
        return self.energy - float(self.a[to] @ (self.b[source] - self.b[to]))

    def accept(self) -> None:
        """Apply the last proposed swap."""
        to, source, index_to, index_source = self._proposed
        self.b[to] = self.b[source]
        self.index[index_to] = self.index[index_source]

    def refresh(self) -> None:
        """Recompute the energy from all entries."""
        self.energy = -float(self.a @ self.b)

    def _find(self, swap: Swap) -> tuple[np.ndarray, ...]:
        """Return the target and source entries of a swap."""
        indices = transposition(self.symmetry, [swap]).indices
        shapes = {name: self.symmetry.shapes[name] for name in self.pair.names}
        index_space = index_symmetry(self.symmetry)
        return (
            *_moves(IndexApplier(self.symmetry, indices), shapes),
            *_moves(IndexApplier(index_space, indices), dict(index_space.shapes)),
        )


def index_symmetry(symmetry: Symmetry) -> Symmetry:
    """Return a symmetry whose tensors are the index tensors of a permutation.

    Its permutations act on them by composition.
    """
    layouts: dict[str, tuple[Layout, ...]] = {}
    for name, group in symmetry.groups.items():
        outers = (Units(outer, symmetry.size_of(outer)) for outer in group.nested_in)
        layouts[name] = (*outers, Units(name, group.size))
    return Symmetry(symmetry.groups, layouts, symmetry.axes)


def _moves(
    applier: IndexApplier, shapes: dict[str, tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries that change and their sources."""
    to: list[Tensor] = [torch.empty(0, dtype=torch.int64)]
    source, start = list(to), 0
    for name, shape in shapes.items():
        places = torch.arange(prod(shape))
        moved = applier.apply_to_tensor(name, places.view(shape)).flatten()
        changed = (moved != places).nonzero().flatten()
        to.append(changed + start)
        source.append(moved[changed] + start)
        start += prod(shape)
    return torch.cat(to).numpy(), torch.cat(source).numpy()
