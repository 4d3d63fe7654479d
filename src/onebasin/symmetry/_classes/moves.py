"""Operators that move entries: the entry of an operand that each entry of the output comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch.fx import Node

Index: TypeAlias = tuple[int, ...]
Source: TypeAlias = tuple[Node, Index]
Forward: TypeAlias = Callable[[Index], Index]


def flat(index: Index, shape: Sequence[int]) -> int:
    """Return the position of an entry in a contiguous tensor."""
    position = 0
    for place, size in zip(index, shape, strict=True):
        position = position * size + place
    return position


def unflat(position: int, shape: Sequence[int]) -> Index:
    """Return the index of a position in a contiguous tensor."""
    index = []
    for size in reversed(shape):
        position, place = divmod(position, size)
        index.append(place)
    return tuple(reversed(index))


def broadcast(index: Index, shape: Sequence[int]) -> Index:
    """Return the index of an operand that is broadcast to the shape of the output."""
    own = index[len(index) - len(shape) :] if len(shape) else ()
    return tuple(0 if size == 1 else place for place, size in zip(own, shape, strict=True))


def shape_of(node: Node) -> tuple[int, ...]:
    """Return the shape of a value."""
    return tuple(map(int, node.meta["val"].shape))


def _same_position(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source = _first(given)
    return source, unflat(flat(index, shape), shape_of(source))


def _permute(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source = _first(given)
    places = [0] * len(index)
    for place, dim in zip(index, given["dims"], strict=True):
        places[dim] = place
    return source, tuple(places)


def _transpose(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source, places = _first(given), list(index)
    if len(places) > 1:
        a, b = given.get("dim0", 0), given.get("dim1", 1)
        places[a], places[b] = places[b], places[a]
    return source, tuple(places)


def _expand(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source = _first(given)
    return source, broadcast(index, shape_of(source))


def _slice(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source, places = _first(given), list(index)
    dim = given.get("dim", 0)
    size = shape_of(source)[dim]
    start = given.get("start") or 0
    start = max(start + size, 0) if start < 0 else min(start, size)
    places[dim] = start + places[dim] * given.get("step", 1)
    return source, tuple(places)


def _select(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source = _first(given)
    dim, sizes = given["dim"], shape_of(source)
    dim += len(sizes) if dim < 0 else 0
    place = given["index"] % sizes[dim]
    return source, (*index[:dim], place, *index[dim:])


def joined(name: str, given: Mapping[str, Any], rank: int) -> Iterator[tuple[Node, Forward]]:
    """Yield each part of a concatenation or stack, and the place of its entries in the output.

    Args:
        name: name of the operator.
        given: arguments by name.
        rank: number of dimensions of the output.
    """
    dim = given.get("dim", 0)
    dim += rank if dim < 0 else 0
    start = 0
    for part in given["tensors"]:
        sizes = shape_of(part)
        if name == "stack":
            yield part, partial(_inserted, dim, start)
            start += 1
        elif len(sizes) == rank:  # other parts are empty
            yield part, partial(_shifted, dim, start)
            start += sizes[dim]


def _inserted(dim: int, place: int, index: Index) -> Index:
    return (*index[:dim], place, *index[dim:])


def _shifted(dim: int, start: int, index: Index) -> Index:
    return (*index[:dim], index[dim] + start, *index[dim + 1 :])


def _roll(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source, places = _first(given), list(index)
    for shift, dim in zip(given["shifts"], given["dims"], strict=True):
        places[dim] = (places[dim] - shift) % shape[dim]
    return source, tuple(places)


def _flip(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source, places = _first(given), list(index)
    for dim in given["dims"]:
        places[dim] = shape[dim] - 1 - places[dim]
    return source, tuple(places)


def _repeat(given: Mapping[str, Any], index: Index, shape: Index) -> Source:
    source = _first(given)
    sizes = shape_of(source)
    own = index[len(index) - len(sizes) :]
    return source, tuple(place % size for place, size in zip(own, sizes, strict=True))


def _repeat_interleave(given: Mapping[str, Any], index: Index, shape: Index) -> Source | None:
    source, number, dim = _first(given), given.get("repeats"), given.get("dim")
    if not isinstance(number, int) or not isinstance(dim, int):
        raise TypeError("only a number of repeats in one dimension is known")
    dim %= len(shape)
    return source, tuple(p // number if d == dim else p for d, p in enumerate(index))


def _first(given: Mapping[str, Any]) -> Node:
    return next(value for value in given.values() if isinstance(value, Node))


Move: TypeAlias = Callable[[Mapping[str, Any], Index, Index], Source | None]

RESHAPES = """
    view reshape _unsafe_view unsqueeze squeeze flatten unflatten clone _to_copy to alias detach
    contiguous lift_fresh lift_fresh_copy dropout view_copy _reshape_copy type_as
    alias_copy detach_copy _conj_physical fill_diagonal
""".split()
"""Operators that keep the order of all entries."""

MOVES: Mapping[str, Move] = {
    **{name: _same_position for name in RESHAPES},
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "expand": _expand,
    "expand_as": _expand,
    "repeat_interleave": _repeat_interleave,
    "slice": _slice,
    "select": _select,
    "roll": _roll,
    "flip": _flip,
    "repeat": _repeat,
}
"""Operators with one output whose entries are entries of an operand."""


def part_source(name: str, given: Mapping[str, Any], part: int, index: Index) -> Source | None:
    """Return the source of an entry of one of several outputs; None for other operators."""
    source = _first(given)
    sizes = shape_of(source)
    dim = given.get("dim", 0)
    dim += len(sizes) if dim < 0 else 0
    if name == "unbind":
        return source, (*index[:dim], part, *index[dim:])
    if name in ("split_with_sizes", "split", "chunk", "tensor_split"):
        start = _start(name, given, part, sizes[dim])
        if start is not None:
            return source, (*index[:dim], index[dim] + start, *index[dim + 1 :])
    return None


def _start(name: str, given: Mapping[str, Any], part: int, size: int) -> int | None:
    """Return the offset of a part; None if the arguments are not known."""
    if name == "split_with_sizes" or isinstance(given.get("split_size"), Sequence):
        sizes = given.get("split_sizes") or given["split_size"]
        return sum(sizes[:part])
    if name == "split":
        return given["split_size"] * part
    if name == "chunk":
        return -(-size // given["chunks"]) * part
    return None


def is_tensor(value: Any) -> bool:
    """Return whether a node has one tensor as value."""
    return isinstance(value, Node) and isinstance(value.meta.get("val"), torch.Tensor)
