"""Tied tensors: one memory region under several names.

Tensors are compared by storage, offset, shape and strides. Different tensor objects over
the same memory are tied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from itertools import combinations

from torch import Tensor


def tied_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the first name of a tied tensor, for each of its other names.

    Args:
        state: all parameters and buffers by name, on any device including meta.
    """
    first: dict[Hashable, str] = {}
    aliases = {}
    for name, tensor in state.items():
        kept = first.setdefault(_identity(tensor), name)
        if kept != name:
            aliases[name] = kept
    return aliases


def overlaps(state: Mapping[str, Tensor]) -> Iterator[tuple[str, str, tuple[int, ...] | None]]:
    """Yield pairs of different tensors whose memory overlaps.

    Args:
        state: as in `tied_names`, without aliases.

    Yields:
        Two names. If one tensor is a transpose of the other, also the matching dimension of
        the second for each dimension of the first, else None.
    """
    together: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name, tensor in state.items():
        if (storage := storage_of(tensor)) is not None and tensor.numel():
            together[storage].append(name)
    for names in together.values():
        for a, b in combinations(names, 2):
            (low_a, high_a), (low_b, high_b) = _span(state[a]), _span(state[b])
            if low_a < high_b and low_b < high_a:
                yield a, b, _transposition(state[a], state[b])


def _identity(tensor: Tensor) -> Hashable:
    storage = storage_of(tensor)
    if storage is None or not tensor.numel():
        return id(tensor)
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def memory_of(tensor: Tensor) -> Hashable:
    """Return a key for the memory of a tensor; equal keys mean the same entries.

    It does not depend on the storage object: two tensors read from one memory-mapped file
    have equal keys. The tensor must be alive.
    """
    place = tensor.data_ptr() or id(tensor)
    return place, tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def storage_of(tensor: Tensor) -> int | None:
    """Return an identifier of the storage of a tensor, or None if it has none."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None


def _span(tensor: Tensor) -> tuple[int, int]:
    """Return the byte range of a tensor in its storage, end exclusive."""
    low = int(tensor.storage_offset())
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    high = low + sum((size - 1) * stride for size, stride in steps) + 1
    return low * tensor.element_size(), high * tensor.element_size()


def _transposition(a: Tensor, b: Tensor) -> tuple[int, ...] | None:
    if a.dtype != b.dtype or a.storage_offset() != b.storage_offset():
        return None
    places = {axis: i for i, axis in enumerate(zip(b.shape, b.stride(), strict=True))}
    axes = list(zip(a.shape, a.stride(), strict=True))
    if len(places) != b.dim() or set(axes) != set(places) or a.dim() != b.dim():
        return None
    return tuple(places[axis] for axis in axes)
