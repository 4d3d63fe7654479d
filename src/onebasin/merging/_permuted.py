"""Permuted networks, computed lazily."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.symmetry.permutation import Permutation


class LazyPermuted(LazyMapping):
    """The parameters of a permuted network, computed at each access.

    Equal to `permutation.apply(params)`, but only one tensor is in memory at a time. Tensors
    outside of the symmetry are not changed.

    Args:
        params: parameters and buffers; not changed.
        permutation: the permutation.
    """

    def __init__(self, params: Mapping[str, Tensor], permutation: Permutation) -> None:
        super().__init__(params)
        self._params = params
        self._permutation = permutation

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without reading it."""
        return describe(self._params, name)

    def __getitem__(self, name: str) -> Tensor:
        """Return a permuted tensor."""
        tensor = self._params[name]
        known = name in self._permutation.symmetry.layouts
        return self._permutation.apply_tensor(name, tensor) if known else tensor
