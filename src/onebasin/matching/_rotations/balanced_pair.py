"""Two balanced networks, the search over them, and the resulting transformation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.matching._coordinate_descent.pair import Pair, PairStats
from onebasin.matching._rotations.balance import balanced, mixing_groups
from onebasin.matching._rotations.moving import TransformedNetwork
from onebasin.matching._rotations.search import RotationSearch
from onebasin.symmetry.permutation import Permutation, old_outers
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation


@dataclass
class BalancedPair:
    """A search over two balanced networks.

    Args:
        search: the search.
        stats: statistics of both balanced networks.
        params_a, params_b: the networks.
        balance_a, balance_b: the transformations that balance them.
    """

    search: RotationSearch
    stats: PairStats
    params_a: Mapping[str, Tensor]
    params_b: Mapping[str, Tensor]
    balance_a: Transformation
    balance_b: Transformation

    @classmethod
    def of(
        cls,
        symmetry: Symmetry,
        params_a: Mapping[str, Tensor],
        params_b: Mapping[str, Tensor],
        *,
        cache_bytes: int,
    ) -> BalancedPair:
        """Balance two networks.

        Networks that need more memory than `cache_bytes` are balanced tensor by tensor at each
        access.

        Raises:
            OneBasinError: tensors are missing, have other shapes, or are not real and finite.
        """
        Pair(symmetry, params_a, params_b).compute_stats()
        networks = params_a, params_b
        mixing = mixing_groups(symmetry, networks)
        balances = [balanced(symmetry, params, mixing) for params in networks]
        a, b = (
            BalancedNetwork(params, balance, cache_bytes=cache_bytes)
            for params, balance in zip(networks, balances, strict=True)
        )
        moving = TransformedNetwork(symmetry, b, mixing, cache_bytes=cache_bytes)
        pair = Pair(symmetry, a, moving)
        gains = {gain.axis.tensor for name in mixing for gain in symmetry.actions[name].gains}
        pair.names = tuple(name for name in pair.names if name not in gains)
        stats = pair.compute_stats()
        search = RotationSearch(
            symmetry, pair, moving, is_exact=stats.alike, cache_bytes=cache_bytes
        )
        return cls(search, stats, params_a, params_b, *balances)

    @property
    def mixing(self) -> list[str]:
        """The groups whose units are mixed."""
        return self.search.moving.mixing

    def transformation(self) -> Transformation:
        """Return the transformation that aligns B to A, for the current state of the search."""
        return self.balance_a.inverse() @ self.compact() @ self.balance_b

    def compact(self) -> Transformation:
        """Return the permutations, orthogonal maps and signs of the current state."""
        symmetry, indices, moving = self.search.symmetry, self.search.indices, self.search.moving

        def arranged(name: str, values: Tensor) -> Tensor:
            positions = old_outers(symmetry, indices, name)
            return values[positions] if positions else values

        maps = {name: arranged(name, each) for name, each in moving.maps.items()}
        signs = {
            name: torch.stack([arranged(name, one).gather(-1, indices[name]) for one in each])
            for name, each in moving.signs.items()
        }
        return Transformation(symmetry, Permutation(symmetry, indices), maps, {}, signs)


class BalancedNetwork(LazyMapping):
    """A balanced network in which gains such as `1 + weight` are tensors of their own.

    Args:
        params: the network.
        balance: the transformation that balances it.
        cache_bytes: memory for balanced tensors; the others are computed at each access.
    """

    def __init__(
        self, params: Mapping[str, Tensor], balance: Transformation, *, cache_bytes: int
    ) -> None:
        super().__init__(params)
        self.params, self.left = params, cache_bytes
        self._transform = balance.applier(params)
        self._known: dict[str, Tensor] = {}
        self._offsets = {
            axis.tensor: offset
            for action in balance.symmetry.actions.values()
            for axis, offset in (action.offsets or {}).items()
        }

    def __getitem__(self, name: str) -> Tensor:
        """Return a balanced tensor."""
        if name in self._known:
            return self._known[name]
        value = self._transform(name, self.params[name])
        if name in self._offsets:
            value = value + self._offsets[name]
        if value.nbytes <= self.left:
            self.left -= value.nbytes
            self._known[name] = value
        return value

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without balancing it."""
        return describe(self.params, name)
