"""Rules of normalizations, as operators and as sums of squares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.fx import Node

from onebasin.symmetry._classes.bounds import KEEPS_ONES, ORTHOGONAL, PERMUTATION
from onebasin.symmetry._classes.context import Context
from onebasin.symmetry._classes.moves import Index, Source, shape_of
from onebasin.symmetry._inference.nodes import named_arguments, operator_of


def is_reduced_square(square: Node, dim: int) -> bool:
    """Return whether a value is only summed over a dimension, or averaged."""
    return bool(square.users) and all(_reduces(user, dim) for user in square.users)


def _reduces(node: Node, dim: int) -> bool:
    if operator_of(node) in ("_to_copy", "to"):
        return is_reduced_square(node, dim)
    if operator_of(node) not in ("mean", "sum"):
        return False
    given: Mapping[str, Any] = named_arguments(node, node.args, dict(node.kwargs))
    rank = len(shape_of(node.all_input_nodes[0]))
    dims = given.get("dim")
    if dims is None or dims == []:
        return True
    each = dims if isinstance(dims, list | tuple) else [dims]
    return dim in {int(one) % rank for one in each}


def layer_norm(context: Context) -> None:
    """LayerNorm keeps the vector of ones, RMSNorm only norms; the gain scales units."""
    source = context.operand("input")
    assert source is not None
    rank = len(shape_of(source))
    number = len(context.given["normalized_shape"])
    bound = ORTHOGONAL if "rms_norm" in context.operator else ORTHOGONAL & KEEPS_ONES
    inner = range(rank - number, rank)
    context.restrict(source, bound, dims=inner)
    context.restrict(source, PERMUTATION, dims=range(rank - number))
    _affine(context, source, lambda index: index[rank - number :], inner)


def _affine(
    context: Context, source: Node, place_of: Callable[[Index], Index], inner: range
) -> None:
    """Relate input, gain and bias of a normalization to its output."""
    weight, bias = context.operand("weight"), context.operand("bias")
    for place in context.output.places:
        own = context.source(place, lambda index: (source, index))
        if own is None:
            continue
        if place.dim not in inner or weight is None:
            context.relations.equal(place.site, own)
        else:
            gain = context.source(place, lambda index: _given(weight, place_of(index)))
            if gain is not None:
                context.relations.scaled(place.site, {own: 1, gain: 1}, gain=gain)
        if bias is not None and place.dim in inner:
            shift = context.source(place, lambda index: _given(bias, place_of(index)))
            if shift is not None:
                context.relations.equal(place.site, shift)


def _given(node: Node | None, index: Index) -> Source:
    assert node is not None
    return node, index


def group_norm(context: Context) -> None:
    """The input is only permuted; the gain scales channels."""
    source = context.operand("input")
    assert source is not None
    context.restrict(source, PERMUTATION)
    _affine(context, source, lambda index: index[1:2], range(1, 2))


def batch_norm(context: Context) -> None:
    """The input is only permuted, with its statistics; the gain scales channels."""
    group_norm(context)
    for name in ("running_mean", "running_var"):
        node = context.operand(name)
        if node is not None:
            context.restrict(node, PERMUTATION)


NORMALIZATIONS: Mapping[str, Callable[[Context], None]] = {
    **dict.fromkeys(("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm"), layer_norm),
    **dict.fromkeys(("group_norm", "native_group_norm"), group_norm),
    **dict.fromkeys(
        (
            "batch_norm",
            "native_batch_norm",
            "cudnn_batch_norm",
            "_native_batch_norm_legit_no_training",
            "_native_batch_norm_legit",
        ),
        batch_norm,
    ),
}
