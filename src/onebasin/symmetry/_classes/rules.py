"""The effect of each operator on the maps of its operands and its output.

An operator without a rule admits permutations only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch.fx import Node

from onebasin.symmetry._classes.bounds import (
    KEEPS_ONES,
    LINEAR,
    MONOMIAL,
    ORTHOGONAL,
    PERMUTATION,
    POSITIVE,
    SIGNED,
    Bound,
)
from onebasin.symmetry._classes.context import Context
from onebasin.symmetry._classes.contractions import CONTRACTIONS
from onebasin.symmetry._classes.moves import (
    MOVES,
    Index,
    Source,
    broadcast,
    joined,
    part_source,
    shape_of,
)
from onebasin.symmetry._classes.normalizations import NORMALIZATIONS, is_reduced_square
from onebasin.symmetry._classes.relations import Site
from onebasin.symmetry._classes.sites import Place

Rule: TypeAlias = Callable[[Context], None]


def move(context: Context) -> None:
    """Apply the rule of an operator that moves entries."""
    rule = MOVES[context.operator]
    context.equal(lambda index: rule(context.given, index, context.shape))


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


def pointwise(context: Context, bound: Bound) -> None:
    """Operands and output have the same maps; an operand may be broadcast.

    Adding the same value to all units keeps the vector of ones.
    """
    operands = list(context.operands)
    for place in context.output.places:
        found = [_site(context, each, place) for each in operands]
        for site in found:
            if site is not None:
                context.relations.equal(place.site, site)
        context.relations.restrict(place.site, bound, context.operator)
        if bound is LINEAR and any(site is None for site in found):
            context.relations.restrict(place.site, KEEPS_ONES, context.operator)


def _site(context: Context, node: Node, place: Place) -> Site | None:
    """Return the site of an operand, which may be broadcast, at units of the output."""
    return context.source(place, lambda entry: (node, broadcast(entry, shape_of(node))))


def add(context: Context) -> None:
    """Sums are linear; a scalar summand other than zero moves units."""
    scalars = [context.given.get("other")] if context.operator in ("add", "sub", "rsub") else []
    for value in scalars:
        if isinstance(value, int | float) and value != 0:
            (operand,) = context.operands
            if context.is_parameter(operand) and context.operator == "add":
                _offset(context, operand, float(value))
            else:
                pointwise(context, PERMUTATION)
            return
    pointwise(context, LINEAR)


def _offset(context: Context, operand: Node, value: float) -> None:
    """Note that the output is a parameter plus a number, as in the gain `1 + weight`."""
    places = zip(context.output.places, context.of(operand).places, strict=True)
    for place, own in places:
        context.relations.offsets[place.site] = (own.site, value)


def multiply(context: Context) -> None:
    """Products of two values multiply scales; a factor without units is a number."""
    operands = list(context.operands)
    power = -1 if context.operator == "div" else 1
    if context.given.get("rounding_mode") is not None:
        return context.block()
    for place in context.output.places:
        factors: dict[Site, int] = {}
        gain = None
        for number, node in enumerate(operands):
            site = _site(context, node, place)
            if site is None:
                continue
            if context.is_constant(node):
                continue  # it has the same value for all units
            factors[site] = factors.get(site, 0) + (power if number else 1)
            if context.is_parameter(node) and power == 1:
                gain = site
        if len(factors) == 1 and [*factors.values()] == [1] and gain is None:
            context.relations.equal(place.site, next(iter(factors)))
        elif factors:
            context.relations.scaled(place.site, factors, gain=gain if len(factors) == 2 else None)
            if context.is_parameter(context.node):
                context.relations.restrict(place.site, MONOMIAL, context.operator)
    _scalar_denominator(context, operands)


def _scalar_denominator(context: Context, operands: list[Node]) -> None:
    """A number divided by a value is not linear in it."""
    if (
        context.operator == "div"
        and len(operands) == 1
        and context.given.get("self") not in operands
    ):
        context.block()


def power(context: Context) -> None:
    """Squares multiply scales; a square that is summed over its units is orthogonal."""
    operands = list(context.operands)
    exponent = context.given.get("exponent", 2)
    if len(operands) != 1 or exponent != 2:
        return context.block()
    for place in context.of(operands[0]).places:
        if is_reduced_square(context.node, place.dim):
            context.relations.restrict(place.site, ORTHOGONAL, context.operator)
        else:
            context.relations.restrict(place.site, PERMUTATION, context.operator)
    for place in context.output.places:
        context.relations.restrict(place.site, PERMUTATION, context.operator)


def product(context: Context) -> None:
    """A product; of a value with itself it is a square."""
    if context.given.get("self") is context.given.get("other"):
        return power(context)
    multiply(context)


def replaced(context: Context) -> None:
    """Entries that a mask replaces by zero or by another value."""
    value = context.given.get("value", None)
    if context.operator == "masked_fill" and value != 0:
        return context.block()
    masks = {"mask", "condition"}
    for name in masks & context.given.keys():
        node = context.operand(name)
        if node is not None and context.of(node).places:
            return context.block()
    if context.operator == "where":
        return context.block()
    source = context.operand("self")
    assert source is not None
    context.equal(lambda index: (source, broadcast(index, shape_of(source))))


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


def selected(context: Context) -> None:
    """Entries that an index without units selects, in other dimensions than those of the units."""
    source = context.operand("self")
    assert source is not None
    if len(shape_of(source)) != len(context.shape) or any(
        context.of(node).places for node in context.operands if node is not source
    ):
        return context.block()
    dim = context.given.get("dim")
    if not isinstance(dim, int):
        return context.block()
    dim %= len(context.shape)

    def index(entry: Index) -> Source:
        return source, tuple(0 if d == dim else p for d, p in enumerate(entry))

    context.equal(index, ignored={dim})


def pad(context: Context) -> None:
    """Padding with zeros."""
    if context.given.get("value") not in (None, 0, 0.0):
        return context.block()
    source = next(context.operands)
    sizes = shape_of(source)
    widths = list(context.given["pad"])
    before = [0] * len(sizes)
    for number in range(len(widths) // 2):
        before[len(sizes) - 1 - number] = widths[2 * number]

    def index(entry: Index) -> Source | None:
        places = tuple(p - b for p, b in zip(entry, before, strict=True))
        inside = all(0 <= p < size for p, size in zip(places, sizes, strict=True))
        if inside:
            return source, places
        clipped = tuple(min(max(p, 0), size - 1) for p, size in zip(places, sizes, strict=True))
        return source, clipped

    context.equal(index)


def _pointwise(bound: Bound) -> Rule:
    return lambda context: pointwise(context, bound)


_ODD = "tanh sin asin atan sinh asinh erf erfinv atan softsign sign trunc".split()
_POSITIVE = "relu leaky_relu maximum minimum abs".split()
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
    **{name: _pointwise(SIGNED) for name in _ODD},
    **{name: _pointwise(POSITIVE) for name in _POSITIVE},
    **{name: spatial(POSITIVE) for name in _POOLINGS},
    **{name: spatial(LINEAR) for name in _SPATIAL},
    **dict.fromkeys(("add", "sub", "rsub"), add),
    **dict.fromkeys(("mul", "div"), product),
    **dict.fromkeys(("pow", "square"), power),
    **dict.fromkeys(("masked_fill", "where"), replaced),
    **dict.fromkeys(("mean", "sum"), reduce(KEEPS_ONES, LINEAR)),
    **dict.fromkeys(("amax", "amin"), reduce(PERMUTATION, POSITIVE)),
    **dict.fromkeys(("norm", "linalg_vector_norm"), norm),
    **dict.fromkeys(("var", "std"), reduce(ORTHOGONAL & KEEPS_ONES, PERMUTATION)),
    "neg": _pointwise(LINEAR),
    "embedding": embedding,
    "index_select": selected,
    "constant_pad_nd": pad,
    **CONTRACTIONS,
    **NORMALIZATIONS,
}
"""Rules by name of the operator."""
