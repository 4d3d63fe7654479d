"""Rules of operators that read or write entries at indices, in dimensions without units."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from torch.fx import Node

from onebasin.symmetry._classes.bounds import PERMUTATION
from onebasin.symmetry._classes.context import Context
from onebasin.symmetry._classes.moves import Index, Source, is_tensor, shape_of


def _restrict_indexed(context: Context, dims: Collection[int], output: Collection[int]) -> bool:
    """Admit only permutations in indexed dimensions; return whether the indices have no units."""
    source = context.operand("self")
    assert source is not None
    context.restrict(source, PERMUTATION, dims=dims)
    context.restrict(context.node, PERMUTATION, dims=output)
    others = (node for node in context.operands if node is not source)
    return not any(context.of(node).places for node in others)


def index_select(context: Context) -> None:
    """Entries of one dimension that a vector of indices selects."""
    source, dim = context.operand("self"), context.given["dim"] % len(context.shape)
    assert source is not None
    if not _restrict_indexed(context, [dim], [dim]):
        return context.block()
    rest = {*range(len(context.shape))} - {dim}
    return context.equal(lambda entry: (source, _with(entry, dim)), ignored=[dim], dims=rest)


def _with(entry: Index, dim: int) -> Index:
    return tuple(0 if d == dim else p for d, p in enumerate(entry))


def index(context: Context) -> None:
    """Entries of some dimensions that tensors of indices select together."""
    source, dims, selected = _selection(context)
    if not dims or not _restrict_indexed(context, dims, selected):
        return context.block()

    def source_of(entry: Index) -> Source:
        rest = iter(p for d, p in enumerate(entry) if d not in selected)
        return source, tuple(0 if d in dims else next(rest) for d in range(len(shape_of(source))))

    others = {*range(len(context.shape))}.difference(selected)
    return context.equal(source_of, ignored=dims, dims=others)


def _selection(context: Context) -> tuple[Node, list[int], range]:
    """Return the indexed value, its indexed dimensions, and those of the selected entries.

    No dimension is indexed if a mask of booleans selects the entries.
    """
    source, indices = context.operand("self"), context.given["indices"]
    assert source is not None
    dims = [d for d, each in enumerate(indices) if each is not None]
    tensors = [each for each in indices if is_tensor(each)]
    if not dims or any(each.meta["val"].dtype.itemsize == 1 for each in tensors):
        return source, [], range(0)
    rank = max(len(shape_of(each)) for each in tensors)
    start = dims[0] if dims == [*range(dims[0], dims[-1] + 1)] else 0
    return source, dims, range(start, start + rank)


def index_put(context: Context) -> None:
    """Entries of another value are added or written at tensors of indices."""
    target, dims, selected = _selection(context)
    values = context.operand("values")
    indices = [each for each in context.given["indices"] if is_tensor(each)]
    rank = len(context.shape) - len(dims) + len(selected)
    if (
        values is None
        or not dims
        or len(shape_of(values)) != rank
        or any(context.of(node).places for node in indices)
    ):
        return context.block()
    context.restrict(target, PERMUTATION, dims=dims)
    context.restrict(context.node, PERMUTATION, dims=dims)
    context.restrict(values, PERMUTATION, dims=selected)
    others = {*range(len(context.shape))}.difference(dims)
    if any(
        place.dim in others and 1 in _extents(values, selected) for place in context.output.places
    ):
        return context.block()

    def value_of(entry: Index) -> Source:
        rest = iter(p for d, p in enumerate(entry) if d not in dims)
        return values, tuple(0 if d in selected else next(rest) for d in range(rank))

    context.equal(lambda entry: (target, entry), dims=others)
    return context.equal(value_of, ignored=selected, dims=others)


def _extents(node: Node, left_out: Collection[int]) -> list[int]:
    return [size for d, size in enumerate(shape_of(node)) if d not in left_out]


def index_add(context: Context) -> None:
    """Entries of another value are added or written at indices of one dimension."""
    target, source = context.operand("self"), context.operand("source")
    assert target is not None and source is not None
    dim = context.given["dim"] % len(context.shape)
    indices = context.operand("index")
    if indices is None or context.of(indices).places or len(shape_of(source)) != len(context.shape):
        return context.block()
    for node in (target, source, context.node):
        context.restrict(node, PERMUTATION, dims=[dim])
    rest = {*range(len(context.shape))} - {dim}
    context.equal(lambda entry: (target, entry), dims=rest)
    return context.equal(lambda entry: (source, _with(entry, dim)), ignored=[dim], dims=rest)


INDEXING: Mapping[str, Callable[[Context], None]] = {
    "index_select": index_select,
    "index": index,
    "index_put": index_put,
    **dict.fromkeys(("index_add", "index_copy"), index_add),
}
