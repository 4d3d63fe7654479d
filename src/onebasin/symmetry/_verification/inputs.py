"""Further inputs for a model, with other shapes and values than the example.

A symmetry of a network holds for every input. A wrong symmetry may hold on the example but
fail on other shapes or larger values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten_with_path, tree_unflatten

from onebasin._random import generator_for

LARGE, PIXEL = 100.0, 255.0
"""Magnitudes of further inputs: a factor on the example's values, and the pixel range."""

NOISE = 0.1
MAX_GROWTH = 2.5
"""Maximum size of a resized input, relative to the example."""

MAX_AT_BRANCHES = 16
"""Maximum size of an input for another branch, relative to the example."""

STRIDE = 32
"""Image heights and widths often have to be multiples of this number."""

WIDE = {torch.uint16: torch.int64, torch.uint32: torch.int64, torch.uint64: torch.int64}
"""Dtypes with more operators in PyTorch, for tensors that are extended."""


@dataclass(frozen=True)
class Example:
    """Inputs of one call.

    Args:
        args, kwargs: positional and keyword inputs.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the shapes of the tensors, such as `2x16` or `input_ids=2x16, mask=2x16`."""
        paths, _ = tree_flatten_with_path((self.args, dict(self.kwargs)))
        shapes = [(path, _shape(leaf)) for path, leaf in paths if isinstance(leaf, Tensor)]
        return ", ".join(f"{_name(path)}{shape}" for path, shape in shapes)


def _shape(tensor: Tensor) -> str:
    has_none = tensor.is_nested and tensor.layout is torch.strided
    return "nested" if has_none else "x".join(map(str, tensor.shape))


def _name(path: Sequence[Any]) -> str:
    """Return the key of a keyword input or dict entry as a prefix of its shape, else ""."""
    keys = [str(key) for entry in path[1:] if isinstance(key := getattr(entry, "key", None), str)]
    return f"{'.'.join(keys)}=" if keys else ""


Resizing = list[list[Example]]
Places = Mapping[tuple[int, int], int]
"""Dimensions that change together: the size by indices of the tensor and the dimension."""


def scaled_examples(example: Example, *, seed: int) -> list[Example]:
    """Return the example with larger values in its floating inputs, and with pixel values.

    Inputs that contain only zeros and ones are masks and do not change. The list is empty
    if no input can change.
    """

    def enlarge(tensor: Tensor) -> Tensor:
        return (_widened(tensor) * LARGE).to(tensor.dtype) if _has_free_values(tensor) else tensor

    def as_pixels(tensor: Tensor) -> Tensor:
        if not _has_free_values(tensor):
            return tensor
        generator = generator_for(seed, "pixels")
        uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float32)
        return (uniform * PIXEL).to(tensor)

    leaves, _ = tree_flatten_with_path((example.args, dict(example.kwargs)))
    if not any(isinstance(leaf, Tensor) and _has_free_values(leaf) for _, leaf in leaves):
        return []
    return [_changed(example, enlarge), _changed(example, as_pixels)]


def _has_free_values(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not _is_dense(tensor) or not tensor.numel():
        return False
    tensor = _widened(tensor)
    return not bool(((tensor == 0) | (tensor == 1)).all())


def _is_dense(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized


def _widened(tensor: Tensor) -> Tensor:
    is_tiny = tensor.is_floating_point() and tensor.itemsize == 1
    return tensor.to(torch.float32 if is_tiny else WIDE.get(tensor.dtype, tensor.dtype))


def resized_examples(
    example: Example, *, seed: int, batch: Sequence[int] = ()
) -> Iterator[list[Resizing]]:
    """Yield smaller and larger inputs for each dimension whose size may vary.

    Dimensions of equal size in all inputs change together, such as the lengths of ids and
    mask, or height and width. The first dimensions are the batch.

    Args:
        example: inputs.
        seed: random seed for the noise in new entries.
        batch: indices of the tensors to reduce to a batch of one when other sizes change.

    Yields:
        The ways to change one size: all dimensions of this size together, then separately by
        dimension index, for models that reject the first way. Each way is a list of
        candidates for smaller inputs and one for larger inputs, the best candidates first.
    """
    tensors = _tensors(example)
    for places in _axes(tensors):
        numbers = dict.fromkeys(dimension for _, dimension in places)
        ways = [places]
        if len(numbers) > 1:
            ways += [{p: n for p, n in places.items() if p[1] == number} for number in numbers]
        yield [_resizing(example, way, seed, batch) for way in ways]


def one_entry(example: Example, batch: Sequence[int]) -> Example:
    """Return the first entry of the batch, as a batch of one.

    Args:
        example: inputs.
        batch: indices of the tensors whose first dimension is the batch.
    """
    tensors = enumerate(_tensors(example))
    cut = iter([x.narrow(0, 0, 1).contiguous() if i in batch else x for i, x in tensors])
    return _changed(example, lambda _: next(cut))


def is_small(other: Example, example: Example) -> bool:
    """Return whether inputs are small enough to run a model on, relative to the example."""
    entries, before = (sum(x.numel() for x in _tensors(each)) for each in (other, example))
    return entries <= MAX_AT_BRANCHES * before + 4096


def batched_tensors(example: Example) -> tuple[list[int], int]:
    """Return the indices of the tensors whose first dimension is the batch, and the batch size."""
    dense = [(i, x) for i, x in enumerate(_tensors(example)) if x.dim() and _is_dense(x)]
    size = dense[0][1].shape[0] if dense else 0
    return [i for i, x in dense if x.shape[0] == size], size


def _axes(tensors: Sequence[Tensor]) -> Sequence[Places]:
    dense = {i: x.shape for i, x in enumerate(tensors) if _is_dense(x)}
    dims = {(i, d): n for i, shape in dense.items() for d, n in enumerate(shape)}
    first = next((shape[0] for shape in dense.values() if shape), 0)
    batch = {place: n for place, n in dims.items() if place[1] == 0 and n == first}
    others = {place: n for place, n in dims.items() if place not in batch and n > 0}
    axes = [batch] if first else []
    for size in dict.fromkeys(others.values()):
        axes.append({place: n for place, n in others.items() if n == size})
    return axes


def _other_sizes(size: int, *, is_batch: bool, is_image: bool) -> tuple[list[int], list[int]]:
    """Return smaller and larger sizes to try, the best first."""
    if is_batch:
        return [1] if size > 1 else [], [size + 1, 2 * size]
    smaller = [n for n in (size // 2, size - 1) if 0 < n < size]
    if is_image:
        larger = [size + 1, size * 5 // 4, size * 3 // 2, (size // STRIDE + 1) * STRIDE]
        return smaller, [n for n in larger if n > size]
    return smaller, [size + 1, 2 * size]


def _resizing(example: Example, places: Places, seed: int, batch: Sequence[int]) -> Resizing:
    size = next(iter(places.values()))
    tensors = _tensors(example)
    is_batch = all(dimension == 0 for _, dimension in places)
    is_image = not is_batch and max(tensors[i].dim() for i, _ in places) > 3
    smaller, larger = _other_sizes(size, is_batch=is_batch, is_image=is_image)
    choices = [_candidates(example, places, sizes, seed) for sizes in (smaller, larger)]
    kept = [] if is_batch else batch
    return [[one_entry(candidate, kept) for candidate in choice] for choice in choices]


def _candidates(example: Example, places: Places, sizes: Sequence[int], seed: int) -> list[Example]:
    tensors = _tensors(example)
    before = max(1, sum(tensor.numel() for tensor in tensors))
    candidates = []
    for size in dict.fromkeys(sizes):
        resized = list(tensors)
        for i, dimension in places:
            resized[i] = _resized(resized[i], dimension, size, seed)
        if sum(tensor.numel() for tensor in resized) <= MAX_GROWTH * before + 16:
            others = iter(resized)
            candidates.append(_changed(example, lambda _, others=others: next(others)))
    return candidates


def _resized(tensor: Tensor, dimension: int, size: int, seed: int) -> Tensor:
    """Return a tensor that is cut, or extended by its own entries, along one dimension.

    Consecutive positions continue to count up. New floating entries have noise.
    """
    old = tensor.shape[dimension]
    if size <= old:
        return tensor.narrow(dimension, 0, size).contiguous()
    return _extended(_widened(tensor), dimension, size, seed).to(tensor.dtype)


def _extended(tensor: Tensor, dimension: int, size: int, seed: int) -> Tensor:
    old = tensor.shape[dimension]
    added = torch.arange(old, size, device=tensor.device) % old
    more = tensor.index_select(dimension, added)
    if _counts(tensor, dimension):
        more = more + old * ((torch.arange(old, size) // old).to(more)).reshape(
            [-1 if d == dimension else 1 for d in range(tensor.dim())]
        )
    elif _has_free_values(tensor):
        noise = torch.rand(more.shape, generator=generator_for(seed, f"{dimension} {size}"))
        more = more + NOISE * (noise.to(more) - 0.5) * tensor.std()
    return torch.cat([tensor, more], dimension)


def _counts(tensor: Tensor, dimension: int) -> bool:
    """Whether integers increase by one along a dimension, as positions do."""
    if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.shape[dimension] < 2:
        return False
    return bool((tensor.diff(dim=dimension) == 1).all())


def _tensors(example: Example) -> list[Tensor]:
    leaves, _ = tree_flatten_with_path((example.args, dict(example.kwargs)))
    return [leaf for _, leaf in leaves if isinstance(leaf, Tensor)]


def _changed(example: Example, change: Callable[[Tensor], Tensor]) -> Example:
    paths, spec = tree_flatten_with_path((example.args, dict(example.kwargs)))
    leaves = [change(leaf) if isinstance(leaf, Tensor) else leaf for _, leaf in paths]
    args, kwargs = tree_unflatten(leaves, spec)
    return Example(args, kwargs)
