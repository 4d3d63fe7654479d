"""Moved networks: a permutation applied to a lazy mapping when a tensor is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from onebasin.checkpoints.tensor_info import TensorInfo, describe
from onebasin.symmetry.permutation import Permutation


class Moved(Mapping[str, Tensor]):
    """The parameters of a network moved by a permutation, computed at each access.

    Equal to `permutation.apply(params)` but for its memory: one tensor at a time. Tensors
    that the symmetry does not contain are not changed.

    Args:
        params: parameters and buffers; not changed.
        permutation: what to apply.
    """

    def __init__(self, params: Mapping[str, Tensor], permutation: Permutation) -> None:
        """Compute nothing yet."""
        self._params = params
        self._permutation = permutation

    def metadata(self, name: str) -> TensorInfo:
        """Describe a tensor without moving it; shapes and dtypes stay."""
        return describe(self._params, name)

    def __getitem__(self, name: str) -> Tensor:
        """Return a moved tensor."""
        tensor = self._params[name]
        known = name in self._permutation.symmetry.layouts
        return self._permutation.apply_tensor(name, tensor) if known else tensor

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a tensor of that name, without moving it."""
        return name in self._params

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._params)

    def __len__(self) -> int:
        """Count the names."""
        return len(self._params)
