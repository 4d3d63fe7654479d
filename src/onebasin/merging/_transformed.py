"""Transformed networks, computed lazily."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from torch import Tensor

from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.symmetry.transformation import Transformation


class LazyTransformed(LazyMapping):
    """The parameters of a transformed network, computed at each access.

    Equal to `transformation.apply(params)`, but only one tensor is in memory at a time. Tensors
    outside of the symmetry are not changed.

    Args:
        params: parameters and buffers; not changed.
        transformation: the transformation.
    """

    def __init__(self, params: Mapping[str, Tensor], transformation: Transformation) -> None:
        super().__init__(params)
        self._params = params
        self._transformation = transformation

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without reading it."""
        return describe(self._params, name)

    @cached_property
    def _transform(self) -> Callable[[str, Tensor], Tensor]:
        return self._transformation.applier(self._params)

    def __getitem__(self, name: str) -> Tensor:
        """Return a transformed tensor."""
        tensor = self._params[name]
        known = name in self._transformation.symmetry.layouts
        return self._transform(name, tensor) if known else tensor
