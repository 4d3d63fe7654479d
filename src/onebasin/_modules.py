"""Tensors of modules."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from torch import Tensor, nn


def named_tensors(model: nn.Module, *, all_names: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and buffers of a module by name, also those that are not stored.

    Args:
        model: any module, on any device.
        all_names: yield a tied tensor under each of its names, not only under the first.

    Example:
        >>> [name for name, _ in named_tensors(nn.Linear(2, 3))]
        ['weight', 'bias']
    """
    return chain(
        model.named_parameters(remove_duplicate=not all_names),
        model.named_buffers(remove_duplicate=not all_names),
    )
