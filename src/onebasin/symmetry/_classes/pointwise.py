"""Rules of operators on single entries: functions, sums, products and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

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
from onebasin.symmetry._classes.moves import broadcast, is_tensor, shape_of
from onebasin.symmetry._classes.normalizations import is_reduced_square
from onebasin.symmetry._classes.relations import Site
from onebasin.symmetry._classes.sites import Place
from onebasin.symmetry._inference.nodes import operator_of

_CASTS = {"_to_copy", "to", "alias", "detach", "clone", "contiguous"}
"""Operators that keep the entries and the shape of a value."""


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
        numbers = [node for node, site in zip(operands, found, strict=True) if site is None]
        if not all(map(context.is_zero, numbers)):
            rest = KEEPS_ONES if bound.mixes else PERMUTATION
            context.relations.restrict(place.site, rest, context.operator)


def _site(context: Context, node: Node, place: Place) -> Site | None:
    """Return the site of an operand at units of the output; None if all units are equal there."""
    site = context.source(place, lambda entry: (node, broadcast(entry, shape_of(node))))
    return None if site in context.relations.uniform else site


def function(bound: Bound) -> Callable[[Context], None]:
    """Return the rule of a function of single entries."""
    return lambda context: pointwise(context, bound)


def add(context: Context) -> None:
    """Sums are linear; a scalar summand other than zero moves units."""
    values = [context.given.get("self"), context.given.get("other")]
    numbers = [each for each in values if not is_tensor(each)]
    if all(each == 0 for each in numbers):
        return pointwise(context, LINEAR)
    (operand,) = context.operands
    if context.operator == "add" and _offset(context, operand):
        return None
    return pointwise(context, KEEPS_ONES)


def _offset(context: Context, operand: Node) -> bool:
    """Note that the output is a parameter plus a number, as in the gain `1 + weight`.

    Returns:
        Whether it is, and no other operator uses the parameter.
    """
    parameter = operand
    while operator_of(parameter) in _CASTS and parameter.op == "call_function":
        parameter = parameter.all_input_nodes[0]
    name = context.names.get(parameter)
    aliases = [node for node, other in context.names.items() if other == name]
    number = _summand(context.node)
    if name is None or len(aliases) > 1 or shape_of(parameter) != context.shape:
        return False
    if any(_summand(user) != number for user in _users(parameter)):
        return False
    for place in context.output.places:
        own = context.of(parameter).find(place.site.group, place.first, place.second)
        if own is None:
            return False
        known = next((s for s, (o, _) in context.relations.offsets.items() if o == own), None)
        if known is not None:
            context.relations.equal(place.site, known)
        context.relations.offsets[place.site] = (own, number or 0.0)
    return True


def _users(node: Node) -> Iterator[Node]:
    """Yield the operators that use a value or its casts."""
    for user in node.users:
        if operator_of(user) in _CASTS and user.op == "call_function":
            yield from _users(user)
        elif not operator_of(user).startswith("_assert"):
            yield user


def _summand(node: Node) -> float | None:
    """Return the number that a node adds to a value; None for other nodes."""
    value = node.args[1] if len(node.args) > 1 else node.kwargs.get("other")
    alpha = node.kwargs.get("alpha", 1)
    is_sum = node.op == "call_function" and operator_of(node) == "add"
    if not is_sum or not isinstance(value, int | float) or not isinstance(alpha, int | float):
        return None
    return float(value) * float(alpha)


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
            if site is None or context.is_constant(node):
                continue  # it has the same value for all units
            factors[site] = factors.get(site, 0) + (power if number else 1)
            if context.is_parameter(node) and power == 1:
                gain = site
        if not factors:
            context.uniform(place.site)
        elif len(factors) == 1 and [*factors.values()] == [1] and gain is None:
            context.relations.equal(place.site, next(iter(factors)))
        else:
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
    operands = list(dict.fromkeys(context.operands))
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


def compare(context: Context) -> None:
    """The signs of entries: a mask that is permuted, of a value with positive scales."""
    bound = POSITIVE if context.given.get("other") == 0 else PERMUTATION
    for node in context.operands:
        context.restrict(node, bound)
    context.restrict(context.node, PERMUTATION)


def masked(context: Context) -> None:
    """Entries of two values that a mask selects; a mask with units excludes mixing."""
    numbers = (context.given.get(name) for name in ("value", "self", "other"))
    if any(isinstance(number, int | float) and number != 0 for number in numbers):
        return context.block()
    masks = [context.operand(name) for name in ("mask", "condition")]
    has_units = any(node is not None and context.of(node).places for node in masks)
    values = [node for node in context.operands if node not in masks]
    for node in masks:
        if node is not None:
            context.restrict(node, PERMUTATION)
    for place in context.output.places:
        for node in values:
            site = _site(context, node, place)
            if site is not None:
                context.relations.equal(place.site, site)
            elif not context.is_zero(node):
                context.relations.restrict(place.site, PERMUTATION, context.operator)
        if has_units:
            context.relations.restrict(place.site, MONOMIAL, context.operator)
    return None


def clamp(context: Context) -> None:
    """Bounds at zero keep positive scales; symmetric bounds keep signs."""
    least, most = (context.given.get(name) for name in ("min", "max"))
    if "min_val" in context.given:
        least, most = (context.given[name] for name in ("min_val", "max_val"))
    if {least, most} <= {0, None}:
        bound = POSITIVE
    elif isinstance(least, int | float) and isinstance(most, int | float) and least == -most:
        bound = SIGNED
    else:
        bound = PERMUTATION
    pointwise(context, bound)


_ODD = "tanh sin asin atan sinh asinh erf erfinv softsign sign trunc".split()
_POSITIVE = "relu leaky_relu maximum minimum abs".split()

POINTWISE: Mapping[str, Callable[[Context], None]] = {
    **{name: function(SIGNED) for name in _ODD},
    **{name: function(POSITIVE) for name in _POSITIVE},
    **dict.fromkeys(("add", "sub", "rsub"), add),
    **dict.fromkeys(("mul", "div"), product),
    **dict.fromkeys(("pow", "square"), power),
    **dict.fromkeys(("gt", "ge", "lt", "le"), compare),
    **dict.fromkeys(("masked_fill", "where"), masked),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh"), clamp),
    "neg": function(LINEAR),
}
