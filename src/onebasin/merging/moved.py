"""Moved networks: a permutation applied to a lazy mapping when a tensor is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from onebasin.checkpoints.lazy import LazyMapping
from onebasin.checkpoints.tensor_info import TensorInfo, describe
from onebasin.symmetry.permutation import Permutation


class LazyPermuted(LazyMapping):
    """The parameters of a network moved by a permutation, computed at each access.

    Equal to `permutation.apply(params)` but for its memory: one tensor at a time. Tensors
    that the symmetry does not contain are not changed.

    Args:
        params: parameters and buffers; not changed.
        permutation: what to apply.
    """

    def __init__(self, params: Mapping[str, Tensor], permutation: Permutation) -> None:
        super().__init__(params)
        self._params = params
        self._permutation = permutation

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, which a permutation does not change."""
        return describe(self._params, name)

    def __getitem__(self, name: str) -> Tensor:
        """Return a permuted tensor."""
        tensor = self._params[name]
        known = name in self._permutation.symmetry.layouts
        return self._permutation.apply_tensor(name, tensor) if known else tensor
