"""Partition of dimensions into concatenated parts, and the parts that a cut reads.

With the same arguments, a cut of a concatenation can read a part at one input shape and omit
it at another: `cat([a, b], 1)[:, :-2]` omits `b` if `b` has two positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from torch import Tensor

JOINS = frozenset({"cat", "concat", "concatenate", "hstack", "vstack", "dstack"})
PIECES = frozenset({"split", "split_with_sizes", "chunk", "tensor_split"})
ARGUMENTS = {"select": ("dim", "index"), "narrow": ("dim", "start", "length")}
RESHAPES = frozenset({"view", "reshape", "unflatten", "flatten", "_unsafe_view", "view_as"})

Parts: TypeAlias = tuple[int, ...]
"""Sizes of the concatenated parts of a dimension."""

PartsBySize: TypeAlias = Mapping[int, frozenset[Parts]]
"""Possible partitions of a tensor's dimensions, by the size of the dimension."""


@dataclass(frozen=True)
class Cut:
    """Consecutive positions that are read from one dimension.

    Args:
        dim: index of the dimension.
        size: size of the dimension.
        start, stop: range of positions.
        parts: partitions of the dimension; several if dimensions of equal size differ.
    """

    dim: int
    size: int
    start: int
    stop: int
    parts: frozenset[Parts] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether every position is read."""
        return self.start == 0 and self.stop == self.size

    def taken(self) -> list[list[tuple[int, int, int]]]:
        """Return size, start and stop in every part, for each partition of the dimension."""
        return [list(self._taken(parts)) for parts in sorted(self.parts or {(self.size,)})]

    def _taken(self, parts: Parts) -> Iterator[tuple[int, int, int]]:
        offset = 0
        for size in parts:
            start = min(max(self.start - offset, 0), size)
            yield size, start, min(max(self.stop - offset, start), size)
            offset += size


def take_same_parts(a: Sequence[Cut], b: Sequence[Cut]) -> bool:
    """Return whether the cuts of two recordings read the same parts of every dimension.

    They must read the same positions of a part of unchanged size. Both or neither must read
    from a part whose size differs.
    """
    if [cut.dim for cut in a] != [cut.dim for cut in b]:
        return False
    return all(
        (one.is_whole and other.is_whole) or _same(one.taken(), other.taken())
        for one, other in zip(a, b, strict=True)
    )


def _same(a: list[list[tuple[int, int, int]]], b: list[list[tuple[int, int, int]]]) -> bool:
    if [len(parts) for parts in a] != [len(parts) for parts in b]:
        return False
    pairs = [pair for x, y in zip(a, b, strict=True) for pair in zip(x, y, strict=True)]
    return all(x == y if x[0] == y[0] else (x[1] < x[2]) == (y[1] < y[2]) for x, y in pairs)


def cuts_of(
    name: str,
    shape: Sequence[int],
    others: Sequence[Any],
    results: Sequence[Sequence[int]],
    parts: PartsBySize,
) -> tuple[Cut, ...]:
    """Return the cuts of a call.

    Args:
        name: name of the function.
        shape: shape of its first operand.
        others: its arguments, as in `RecordedCall.others`.
        results: shapes of its results.
        parts: partitions of its first operand.
    """
    if name in ("__getitem__", "__setitem__"):
        spans = _indexed(shape, others)
    elif name in ARGUMENTS:
        spans = _selected(name, shape, others)
    elif name in PIECES:
        spans = _pieces(shape, results)
    else:
        return ()
    return tuple(
        Cut(dim, shape[dim], start, stop, parts.get(shape[dim], frozenset()))
        for dim, start, stop in spans
    )


Span: TypeAlias = tuple[int, int, int]
"""A dimension and a range of positions (start, stop)."""


def _indexed(shape: Sequence[int], others: Sequence[Any]) -> Iterator[Span]:
    for dim, item in index_items(len(shape), others):
        size = shape[dim] if dim < len(shape) else 0
        if not size:  # a mask indexes several dimensions
            return
        match item:
            case ("slice", int() | None as start, int() | None as stop, int() | None as step):
                if step in (None, 1):
                    low, high, _ = slice(start, stop).indices(size)
                    yield dim, low, max(low, high)
            case (int() as index,) if not isinstance(index, bool):
                yield dim, index % size, index % size + 1


def _selected(name: str, shape: Sequence[int], others: Sequence[Any]) -> Iterator[Span]:
    names = ARGUMENTS[name]
    keywords = next((keys for keys in others if isinstance(keys, tuple) and keys), ())
    values = [value for value in others[3:] if isinstance(value, int)]
    given = dict(zip(names[: len(values) - len(keywords)], values, strict=False))
    given |= dict(zip(keywords, values[len(values) - len(keywords) :], strict=False))
    if set(given) == set(names):
        dim = given["dim"] % len(shape)
        start = given["start" if name == "narrow" else "index"] % shape[dim]
        yield dim, start, start + given.get("length", 1)


def _pieces(shape: Sequence[int], results: Sequence[Sequence[int]]) -> Iterator[Span]:
    for dim, size in enumerate(shape):
        sizes = [result[dim] for result in results]
        if len(sizes) > 1 and sum(sizes) == size:
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
            yield from ((dim, end - n, end) for n, end in zip(sizes, ends, strict=True))
            return


def index_items(rank: int, others: Sequence[Any]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the items of an index `x[...]` with the dimension of each.

    Args:
        rank: number of dimensions of `x`.
        others: arguments, as in `RecordedCall.others`.
    """
    items = _parsed(list(others[3:]))
    consumed = sum(item not in (("ellipsis",), (None,)) for item in items)
    dim = 0
    for item in items:
        if item == ("ellipsis",):
            dim += rank - consumed
        elif item != (None,):
            yield dim, item
            dim += 1


def _parsed(others: list[Any]) -> list[tuple[Any, ...]]:
    """Group the flat form of an index into its items."""
    count = 1
    if others and isinstance(others[0], int) and len(others) > 2:
        count = others.pop(0)  # length of a tuple
    items: list[tuple[Any, ...]] = []
    while others and len(items) < count:
        head = others.pop(0)
        if head is slice:
            items.append(("slice", *others[1:4]))
            del others[:4]
        elif head is list:
            length = others.pop(0)
            items.append(("list", *others[:length]))
            del others[:length]
        else:
            items.append(("tensor",) if head is Tensor else (head,))
    return items


def parts_of_result(
    name: str,
    shapes: Sequence[Sequence[int]],
    result: Sequence[int],
    parts: Sequence[PartsBySize],
    cuts: Iterable[Cut],
    others: Sequence[Any],
) -> PartsBySize:
    """Return the partitions of the dimensions of a result.

    Dimensions are identified by their size only, so an unpartitioned result may seem to be
    partitioned. That can cost an export.

    Args:
        name: name of the function.
        shapes: shapes of its tensor operands.
        result: shape of the result; of the written tensor for an assignment.
        parts: partitions of its operands.
        cuts: ranges that the call reads from its first operand.
        others: its arguments, as in `RecordedCall.others`.
    """
    joined: dict[int, set[Parts]] = {}
    for own in parts:
        for size, ways in own.items():
            if size in result:
                joined.setdefault(size, set()).update(ways)
    if name in JOINS and len(shapes) > 1:
        for size, way in _joined(shapes, result, parts):
            joined.setdefault(size, set()).add(way)
    elif name == "pad":
        for size, way in _padded(shapes[0], others):
            joined.setdefault(size, set()).add(way)
    for cut in cuts:
        for taken in cut.taken():
            if name == "__setitem__":
                ends = {0, cut.start, cut.stop, cut.size}
                way = _between(ends)
            else:
                way = tuple(stop - start for _, start, stop in taken if stop > start)
            if len(way) > 1:
                joined.setdefault(sum(way), set()).add(way)
    return {size: frozenset(ways) for size, ways in joined.items()}


def _joined(
    shapes: Sequence[Sequence[int]], result: Sequence[int], parts: Sequence[PartsBySize]
) -> Iterator[tuple[int, Parts]]:
    for dim, size in enumerate(result):
        sizes = [shape[dim] for shape in shapes if len(shape) == len(result)]
        if len(sizes) > 1 and sum(sizes) == size:
            ways = [
                next(iter(sorted(own.get(n, ()))), (n,))
                for own, n in zip(parts, sizes, strict=False)
            ]
            yield size, tuple(part for way in ways for part in way if part)


def _padded(shape: Sequence[int], others: Sequence[Any]) -> Iterator[tuple[int, Parts]]:
    count, *numbers = [value for value in others[3:] if isinstance(value, int)] or [0]
    pads = numbers[:count]
    for i in range(len(pads) // 2):
        low, high = pads[2 * i : 2 * i + 2]
        way = tuple(n for n in (low, shape[-1 - i], high) if n > 0)
        if len(way) > 1:
            yield sum(way), way


def _between(ends: Iterable[int]) -> Parts:
    return tuple(b - a for a, b in pairwise(sorted(ends)))
