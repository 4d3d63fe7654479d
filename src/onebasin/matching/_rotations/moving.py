"""A network whose units are mixed and whose signs change during a search."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.symmetry._transforming import TensorTransformer
from onebasin.symmetry.actions import GroupAction
from onebasin.symmetry.symmetry import Symmetry


class TransformedNetwork(LazyMapping):
    """The tensors of a balanced network after orthogonal maps and signs.

    Units are not permuted: maps and signs are in the order of the original units.

    Args:
        symmetry: the symmetry.
        params: the balanced network.
        mixing: the groups whose units are mixed.
        cache_bytes: memory for transformed tensors.

    Attributes:
        maps: orthogonal map of each group in `mixing`, `(*outer, n, n)` in float64.
        signs: signs of each group that has some, `(number, *outer, n)` in float64.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        params: Mapping[str, Tensor],
        mixing: Iterable[str],
        *,
        cache_bytes: int,
    ) -> None:
        super().__init__(params)
        self.symmetry, self.params, self.left = symmetry, params, cache_bytes
        self._cache: dict[str, Tensor] = {}
        self._actions: dict[str, dict[str, GroupAction]] = defaultdict(dict)
        self.mixing, self.signed = list(mixing), list[str]()
        for name, action in symmetry.actions.items():
            if name in self.mixing:
                own = dict.fromkeys(action.variances, 1)  # an orthogonal map is its own dual
                self._add(name, replace(action, variances=own, gains=(), offsets=None))
            elif action.signs and not action.mixes:
                self.signed.append(name)
                self._add(name, replace(action, scales=(), offsets=None))
        self.reset()

    def _add(self, name: str, action: GroupAction) -> None:
        for tensor in self.symmetry.tensors_of[name]:
            self._actions[self.symmetry.first_names.get(tensor, tensor)][name] = action

    def reset(self) -> None:
        """Return to the identity."""
        sizes = {
            name: (*self.symmetry.outer_shape(name), self.symmetry.size_of(name))
            for name in (*self.mixing, *self.signed)
        }
        self.maps = {
            name: torch.eye(sizes[name][-1], dtype=torch.float64)
            .expand(*sizes[name], sizes[name][-1])
            .contiguous()
            for name in self.mixing
        }
        self.signs = {
            name: torch.ones(
                len(self.symmetry.actions[name].signs), *sizes[name], dtype=torch.float64
            )
            for name in self.signed
        }
        self._cache.clear()

    def update(self, maps: Mapping[str, Tensor], signs: Mapping[str, Tensor]) -> None:
        """Replace some maps and signs."""
        self.maps, self.signs = {**self.maps, **maps}, {**self.signs, **signs}
        for group in (*maps, *signs):
            for tensor in self.symmetry.tensors_of[group]:
                self._cache.pop(self.symmetry.first_names.get(tensor, tensor), None)

    def __getitem__(self, name: str) -> Tensor:
        """Return a transformed tensor."""
        first = self.symmetry.first_names.get(name, name)
        actions = self._actions.get(first)
        if not actions:
            return self.params[name]
        known = self._cache.get(first)
        if known is None:
            transformer = TensorTransformer(self.symmetry, self.maps, {}, self.signs, {}, actions)
            known = transformer.apply(first, self.params[name])
            size = known.nbytes
            held = sum(each.nbytes for each in self._cache.values())
            if held + size <= self.left:
                self._cache[first] = known
        return known

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without transforming it."""
        return describe(self.params, name)
