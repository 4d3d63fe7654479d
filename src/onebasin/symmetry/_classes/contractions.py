"""Rules of products of matrices, convolutions and attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch.fx import Node

from onebasin.symmetry._classes.bounds import KEEPS_ONES, PERMUTATION
from onebasin.symmetry._classes.context import Context
from onebasin.symmetry._classes.moves import Index, Source, broadcast, shape_of
from onebasin.symmetry._classes.relations import Site
from onebasin.symmetry._classes.sites import Place


def contract(context: Context, a: Node, dim: int, b: Node, other: int) -> None:
    """Pair the units of two dimensions that are summed over: their maps are dual."""
    dim, other = dim % len(shape_of(a)), other % len(shape_of(b))
    second = context.of(b)
    for place in context.of(a).places:
        if place.dim != dim:
            continue
        found = False
        for candidate in second.places:
            index = list(candidate.first)
            index[other] = place.first[dim]
            step = list(index)
            step[other] = place.second[dim]
            site = second.find(place.site.group, tuple(index), tuple(step))
            if site is not None and candidate.dim == other:
                context.relations.dual(place.site, site)
                found = True
        if not found:
            context.relations.restrict(place.site, PERMUTATION, context.operator)


def matmul(left: str, right: str) -> Callable[[Context], None]:
    """Return the rule of a product of matrices or of batches of matrices."""

    def rule(context: Context) -> None:
        a, b = context.operand(left), context.operand(right)
        assert a is not None and b is not None
        if min(len(shape_of(a)), len(shape_of(b))) < 2:
            return context.block()
        contract(context, a, -1, b, -2)
        rank = len(context.shape)
        for node in (a, b):
            context.restrict(node, PERMUTATION, dims=range(len(shape_of(node)) - 2))
        context.restrict(context.node, PERMUTATION, dims=range(rank - 2))
        rows, columns = shape_of(a), shape_of(b)
        context.equal(
            lambda entry: (a, broadcast((*entry[:-1], 0), rows)),
            ignored={len(rows) - 1},
            dims={rank - 2},
        )
        context.equal(
            lambda entry: (b, broadcast((*entry[:-2], 0, entry[-1]), columns)),
            ignored={len(columns) - 2},
            dims={rank - 1},
        )
        _add(context)

    return rule


def _add(context: Context) -> None:
    """Add the summand of `addmm` and `baddbmm`."""
    if context.operator not in ("addmm", "baddbmm"):
        return
    bias = context.operand("self")
    assert bias is not None
    for place in context.output.places:
        site = context.source(place, lambda index: (bias, broadcast(index, shape_of(bias))))
        if site is None:
            context.relations.restrict(place.site, KEEPS_ONES, context.operator)
        else:
            context.relations.equal(place.site, site)


def linear(context: Context) -> None:
    """`x Wᵀ + b`."""
    source, weight, bias = (context.operand(name) for name in ("input", "weight", "bias"))
    assert source is not None and weight is not None
    contract(context, source, -1, weight, -1)
    last = len(context.shape) - 1
    context.equal(lambda entry: (weight, (entry[-1], 0)), ignored={1}, dims={last})
    context.equal(lambda entry: (source, (*entry[:-1], 0)), ignored={last}, dims=range(last))
    if bias is not None:
        context.equal(lambda entry: (bias, entry[-1:]), dims={last})


def convolution(context: Context) -> None:
    """Convolutions; transposed ones with groups are only permuted."""
    source, weight, bias = (context.operand(name) for name in ("input", "weight", "bias"))
    assert source is not None and weight is not None
    is_transposed = "transpose" in context.operator or bool(context.given.get("transposed"))
    groups = context.given.get("groups", 1)
    rows, columns = (1, 0) if is_transposed else (0, 1)
    rank = len(shape_of(weight))
    if len(shape_of(source)) != rank or len(context.shape) != rank:
        return context.block()
    if groups == 1:
        contract(context, source, 1, weight, columns)
    elif is_transposed:
        return context.block()
    for node in (source, context.node):
        context.restrict(node, PERMUTATION, dims={0, *range(2, rank)})
    context.restrict(weight, PERMUTATION, dims=range(2, rank))

    def index(entry: Index) -> Source:
        return weight, tuple(entry[1] if dim == rows else 0 for dim in range(rank))

    if bias is not None:
        context.equal(lambda entry: (bias, entry[1:2]), dims={1})
    if groups == 1:
        return context.equal(index, ignored={*range(rank)} - {rows}, dims={1})
    return _grouped(context, source, weight, groups)


def _grouped(context: Context, source: Node, weight: Node, groups: int) -> None:
    """Relate input, weight and output of a convolution with groups of channels.

    Scales of whole groups of channels multiply. Within a group the maps of the input are dual.
    """
    rows, columns = shape_of(weight)[0] // groups, shape_of(weight)[1]

    def row(entry: Index) -> Source:
        return weight, (entry[1], *(0 for _ in shape_of(weight)[1:]))

    for place in context.output.places:
        if place.dim != 1:
            continue
        if place.first[1] // rows == place.second[1] // rows:
            for site in context.sources(place, row, range(1, len(shape_of(weight)))):
                context.relations.equal(place.site, site)
            continue
        inputs = _across_groups(context, source, place, 1, columns)
        weights = _across_groups(context, weight, place, 0, rows)
        for inner in inputs:
            for site in weights:
                context.relations.scaled(place.site, {inner: 1, site: 1})
        if not inputs or not weights:
            context.relations.restrict(place.site, PERMUTATION, context.operator)
    for place in context.of(source).places:
        if place.dim == 1 and place.first[1] // columns == place.second[1] // columns:
            _contract_in_group(context, place, source, weight, rows)


def _across_groups(
    context: Context, node: Node, place: Place, dim: int, size: int
) -> dict[Site, None]:
    """Return the sites of a group of units that are whole groups of channels.

    Args:
        context: the convolution.
        node: its input or weight.
        place: the units.
        dim: the dimension of the channels.
        size: number of channels of a group.
    """
    return {
        each.site: None
        for each in context.of(node).places
        if each.site.group == place.site.group
        and each.dim == dim
        and each.first[dim] // size != each.second[dim] // size
    }


def _contract_in_group(
    context: Context, place: Place, source: Node, weight: Node, rows: int
) -> None:
    """Let the maps of the inputs of a group of channels be dual to those of its weight."""
    weights, inputs, found = context.of(weight), context.of(source), False
    columns = shape_of(weight)[1]
    for other in weights.places:
        if other.site.group != place.site.group:
            continue
        shift = (other.first[0] // rows - place.first[1] // columns) * columns
        pair = [(e[0], e[1] + shift, *e[2:]) for e in (place.first, place.second)]
        inner = inputs.find(place.site.group, *pair)
        ends = [(other.first[0], e[1] % columns, *other.first[2:]) for e in pair]
        site = weights.find(place.site.group, *ends)
        if site is not None and inner is not None:
            context.relations.dual(inner, site)
            found = True
    if not found:
        context.relations.restrict(place.site, PERMUTATION, context.operator)


def attention(context: Context) -> None:
    """`softmax(q kᵀ) v`; heads and positions are only permuted."""
    query, key, value = (context.operand(name) for name in ("query", "key", "value"))
    assert query is not None and key is not None and value is not None
    contract(context, query, -1, key, -1)
    mask = context.operand("attn_mask")
    for node in (query, key, value, context.node):
        context.restrict(node, PERMUTATION, dims=range(len(shape_of(node)) - 1))
    if mask is not None:
        context.restrict(mask, PERMUTATION)
    sizes = shape_of(value)

    def index(entry: Index) -> Source:
        batch = (min(p, size - 1) for p, size in zip(entry[:-2], sizes, strict=False))
        return value, (*batch, 0, entry[-1])

    last = len(context.shape) - 1
    context.equal(index, ignored={len(sizes) - 2}, dims={last})


CONTRACTIONS: Mapping[str, Callable[[Context], None]] = {
    "matmul": matmul("self", "other"),
    "mm": matmul("self", "mat2"),
    "bmm": matmul("self", "mat2"),
    "addmm": matmul("mat1", "mat2"),
    "baddbmm": matmul("batch1", "batch2"),
    "linear": linear,
    "scaled_dot_product_attention": attention,
    **dict.fromkeys(
        (
            "convolution",
            "conv1d",
            "conv2d",
            "conv3d",
            "conv_transpose1d",
            "conv_transpose2d",
            "conv_transpose3d",
        ),
        convolution,
    ),
}
