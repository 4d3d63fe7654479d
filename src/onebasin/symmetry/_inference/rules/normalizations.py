"""Rules for normalization layers and weight norm."""

from onebasin.symmetry._inference.atoms import Dims
from onebasin.symmetry._inference.calls import Call, Rule


def batch_norm(call: Call) -> tuple[Dims | None, ...]:
    """Weight, bias and running statistics have the layout of the channels, the second dimension."""
    dims = call["input"].dims
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call.get(name) is not None:
            call.unify(dims[1], call[name].dims[0])
    side = dims[1:2]
    call.mix(side)
    return tuple(_shaped(call, dims, side, shape) for shape in call.shapes)


def _shaped(call: Call, dims: Dims, side: Dims, shape: tuple[int, ...] | None) -> Dims | None:
    if shape is None:
        return None
    if len(shape) == len(dims):
        return dims
    known = shape == tuple(atom.size for atom in side)
    return side if known else tuple(call.fixed(size, "side output") for size in shape)


def layer_norm(call: Call) -> tuple[Dims | None, ...]:
    """Statistics over the last dimensions; weight and bias have the layouts of these dimensions."""
    dims = call["input"].dims
    number = len(call["normalized_shape"])
    kept, last = dims[: len(dims) - number], dims[len(dims) - number :]
    for name in ("weight", "bias"):
        if call.get(name) is not None:
            call.unify_all(last, call[name].dims)
    call.mix(kept)
    statistics = (*kept, *(call.fixed(1, "reduced") for _ in last))
    return tuple(
        None if shape is None else (dims if i == 0 else statistics)
        for i, shape in enumerate(call.shapes)
    )


def group_norm(call: Call) -> tuple[Dims | None, ...]:
    """Channels are (groups × channels in a group); statistics are computed per group."""
    dims = call["input"].dims
    groups = call.get("group", call.get("num_groups", 1))
    outer, _ = call.factor(dims[1], [groups, dims[1].size // groups])
    for name in ("weight", "bias"):
        if call.get(name) is not None:
            call.unify(dims[1], call[name].dims[0])
    call.mix((dims[0], outer))
    return tuple(
        None if shape is None else (dims if i == 0 else (dims[0], outer))
        for i, shape in enumerate(call.shapes)
    )


def weight_norm(call: Call) -> tuple[Dims | None, ...]:
    """`g * v / |v|` with the norm over all dimensions but one, or over all dimensions."""
    direction, length = call["v"].dims, call["g"].dims
    kept: Dims = ()
    if length:
        place = call.get("dim", 0)
        kept = direction[place : place + 1]
        call.unify(kept[0], length[place if len(length) == len(direction) else 0])
    call.mix(kept)
    return tuple(
        None if s is None else (length if i else direction) for i, s in enumerate(call.shapes)
    )


NORMALIZATIONS: dict[str, Rule] = {
    **{
        f"aten.{name}": batch_norm
        for name in (
            "batch_norm",
            "native_batch_norm",
            "_native_batch_norm_legit",
            "cudnn_batch_norm",
            "_native_batch_norm_legit_no_training",
            "_batch_norm_no_update",
            "_batch_norm_with_update",
            "_native_batch_norm_legit_functional",
            "_batch_norm_with_update_functional",
        )
    },
    **{
        f"aten.{n}": layer_norm
        for n in ("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
    },
    **{f"aten.{n}": group_norm for n in ("group_norm", "native_group_norm")},
    "aten._weight_norm_interface": weight_norm,
    "aten._weight_norm": weight_norm,
}
