"""The base of mappings whose tensors are read or computed at each access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from onebasin.checkpoints.tensor_info import TensorInfo


class LazyMapping(Mapping[str, Tensor]):
    """Tensors by name; only `mapping[name]` reads or computes one.

    Args:
        names: names of the tensors, in order.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    @abstractmethod
    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without computing it."""

    def __contains__(self, name: object) -> bool:
        """Return whether there is a tensor of that name, without computing it."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._names)
