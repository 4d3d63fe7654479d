"""The effect of each operator on the maps of its operands and its output.

An operator without a rule admits permutations only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from onebasin.symmetry._classes.bounds import (
    KEEPS_ONES,
    LINEAR,
    ORTHOGONAL,
    PERMUTATION,
    POSITIVE,
    Bound,
)
from onebasin.symmetry._classes.context import CONSTANTS, Context
from onebasin.symmetry._classes.contractions import CONTRACTIONS
from onebasin.symmetry._classes.indexing import INDEXING
from onebasin.symmetry._classes.moves import (
    MOVES,
    RESHAPES,
    Index,
    Source,
    flat,
    joined,
    part_source,
    shape_of,
    unflat,
)
from onebasin.symmetry._classes.normalizations import NORMALIZATIONS
from onebasin.symmetry._classes.pointwise import POINTWISE

Rule: TypeAlias = Callable[[Context], None]


def move(context: Context) -> None:
    """Apply the rule of an operator that moves entries."""
    rule = MOVES[context.operator]
    context.equal(lambda index: rule(context.given, index, context.shape))
    if context.operator in RESHAPES:
        _restrict_lost(context)


def _restrict_lost(context: Context) -> None:
    """Admit only permutations of units that no single dimension of a reshaped value contains."""
    source, shape = next(context.operands), context.shape
    for place in context.of(source).places:
        pair = (unflat(flat(each, shape_of(source)), shape) for each in (place.first, place.second))
        if context.output.find(place.site.group, *pair) is None:
            context.relations.restrict(place.site, PERMUTATION, context.operator)


def concatenate(context: Context) -> None:
    """Every part has the maps of the output."""
    for node, forward in joined(context.operator, context.given, len(context.shape)):
        for place in context.of(node).places:
            first, second = forward(place.first), forward(place.second)
            site = context.output.find(place.site.group, first, second)
            if site is None:
                context.relations.restrict(place.site, PERMUTATION, context.operator)
                context.restrict(context.node, PERMUTATION)
            else:
                context.relations.equal(place.site, site)


def part(context: Context, number: int) -> bool:
    """Apply the rule of one of several parts of a value; return whether the output is one."""
    given, first = context.given, (0,) * len(context.shape)
    if part_source(context.operator, given, number, first) is None:
        return False
    context.equal(lambda index: part_source(context.operator, given, number, index))
    return True


def spatial(bound: Bound) -> Rule:
    """Return the rule of an operator over positions, such as a pooling."""

    def rule(context: Context) -> None:
        source = next(context.operands)
        inner = {place.dim for place in context.output.places}
        own = {place.dim for place in context.of(source).places}
        if len(shape_of(source)) != len(context.shape) or own != inner:
            return context.block()

        def index(entry: Index) -> Source:
            return source, tuple(p if d in inner else 0 for d, p in enumerate(entry))

        context.equal(index, ignored={*range(len(context.shape))} - inner)
        context.restrict(source, bound)

    return rule


def reduce(inside: Bound, outside: Bound) -> Rule:
    """Return the rule of a reduction.

    Args:
        inside: bound of the units that are reduced.
        outside: bound of the other units.
    """

    def rule(context: Context) -> None:
        source = context.operand("self") or context.operand("input")
        assert source is not None
        shape = shape_of(source)
        dims = reduced_dims(context.given, len(shape))
        keeps = len(context.shape) == len(shape)
        for place in context.of(source).places:
            bound = inside if place.dim in dims else outside
            context.relations.restrict(place.site, bound, context.operator)

        def index(entry: Index) -> Source:
            if keeps:
                return source, tuple(0 if d in dims else p for d, p in enumerate(entry))
            rest = iter(entry)
            return source, tuple(0 if d in dims else next(rest) for d in range(len(shape)))

        context.equal(index, ignored=dims)

    return rule


def reduced_dims(given: Mapping[str, Any], number: int) -> set[int]:
    """Return the dimensions that a reduction removes."""
    dims = given.get("dim")
    if dims is None or dims == []:
        return set(range(number))
    each = dims if isinstance(dims, list | tuple) else [dims]
    return {int(dim) % number for dim in each}


def norm(context: Context) -> None:
    """A vector norm; the Euclidean norm is invariant under orthogonal maps."""
    order = context.given.get("ord", context.given.get("p", 2))
    reduce(ORTHOGONAL if order in (2, None) else PERMUTATION, PERMUTATION)(context)


def embedding(context: Context) -> None:
    """Rows of a table."""
    weight = context.operand("weight")
    assert weight is not None
    context.equal(lambda index: (weight, (0, index[-1])), ignored={0})


def pad(context: Context) -> None:
    """Padding with zeros, or with entries of the operand in dimensions without units."""
    source = next(context.operands)
    sizes = shape_of(source)
    widths = list(context.given["pad"])
    before = [0] * len(sizes)
    for number in range(len(widths) // 2):
        before[len(sizes) - 1 - number] = widths[2 * number]
    padded = {d for d, size in enumerate(context.shape) if size != sizes[d]}
    has_units = any(place.dim in padded for place in context.output.places)
    if context.given.get("mode", "constant") != "constant":
        if has_units:
            return context.block()
    elif context.given.get("value") not in (None, 0, 0.0):
        return context.block()

    def index(entry: Index) -> Source | None:
        places = zip(entry, before, sizes, strict=True)
        return source, tuple(min(max(p - b, 0), size - 1) for p, b, size in places)

    context.equal(index)


def constant(context: Context) -> None:
    """Zeros have all maps, and other numbers permutations."""
    if not context.is_zero(context.node):
        context.block()


_POOLINGS = "max_pool1d max_pool2d max_pool3d adaptive_max_pool2d max_pool2d_with_indices".split()
_SPATIAL = """
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d
    adaptive_avg_pool3d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d
    upsample_nearest1d upsample_linear1d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
    upsample_nearest3d upsample_trilinear3d
""".split()

RULES: dict[str, Rule] = {
    **{name: move for name in MOVES},
    **dict.fromkeys(("cat", "concat", "stack"), concatenate),
    **{name: spatial(POSITIVE) for name in _POOLINGS},
    **{name: spatial(LINEAR) for name in _SPATIAL},
    **dict.fromkeys(("mean", "sum"), reduce(KEEPS_ONES, LINEAR)),
    **dict.fromkeys(("amax", "amin"), reduce(PERMUTATION, POSITIVE)),
    **dict.fromkeys(("norm", "linalg_vector_norm"), norm),
    **dict.fromkeys(("var", "std"), reduce(ORTHOGONAL & KEEPS_ONES, PERMUTATION)),
    "embedding": embedding,
    **INDEXING,
    **dict.fromkeys(("constant_pad_nd", "pad"), pad),
    **dict.fromkeys(CONSTANTS, constant),
    **POINTWISE,
    **CONTRACTIONS,
    **NORMALIZATIONS,
}
"""Rules by name of the operator."""
