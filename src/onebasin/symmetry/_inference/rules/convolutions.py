"""Rules for convolutions, pooling and resampling: positions are fixed, channels are units."""

from onebasin.symmetry._inference.atoms import ONE, Dims, product_of
from onebasin.symmetry._inference.calls import Call, Result, Rule

SLIDING = "positions of a sliding window"


def convolution(call: Call) -> Dims:
    """`(batch, channels, positions...)` with a kernel and groups."""
    return _convolution(call, transposed=call.get("transposed", False))


def transposed_convolution(call: Call) -> Dims:
    """A convolution whose weight has the input channels first."""
    return _convolution(call, transposed=True)


def _convolution(call: Call, *, transposed: bool) -> Dims:
    operand, weight, groups = call["input"].dims, call["weight"].dims, call.get("groups", 1)
    rank = len(weight) - 2
    *batch, channels = operand[: len(operand) - rank]
    if transposed:
        outer, inner = call.factor(channels, [groups, channels.size // groups])
        call.unify_all(call.factor(weight[0], [groups, weight[0].size // groups]), (outer, inner))
        result = product_of([outer, weight[1]])
    else:
        outer, inner = call.factor(channels, [groups, channels.size // groups])
        call.unify(call.factor(weight[0], [groups, weight[0].size // groups])[0], outer)
        call.unify(inner, weight[1])
        result = weight[0]
    if call.get("bias") is not None:
        call.unify(result, call["bias"].dims[0])
    call.fix(weight[2:], "positions in a kernel")
    if transposed:
        call.mix((*batch, *weight, *operand[-rank:]))
    else:
        call.mix((*batch, inner, weight[0], *weight[2:], *operand[-rank:]))
    return (*batch, result, *_positions(call, operand[-rank:], weight[2:]))


def _positions(call: Call, operand: Dims, kernel: Dims) -> Dims:
    """Return the output positions; all positions are fixed unless the kernel has size one."""
    rank = len(kernel)
    strides = _per_position(call.get("stride", 1), rank)
    pads = _per_position(call.get("padding", 0), rank)
    result = []
    for i, atom in enumerate(operand):
        size = call.shape[i - rank]
        if kernel[i].size == 1 and strides[i] == 1 and pads[i] in (0, "same") and size == atom.size:
            result.append(atom)
        else:
            call.fix([atom], SLIDING)
            result.append(call.fixed(size, SLIDING))
    return tuple(result)


def _per_position(value: int | str | list[int], rank: int) -> list[int | str]:
    if isinstance(value, str):
        return [value if value == "same" else 0] * rank
    values: list[int | str] = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def _windows(rank: int) -> Rule:
    def rule(call: Call) -> tuple[Dims | None, ...]:
        """Pooling or resampling over the last dimensions; batch and channels are unchanged."""
        operand = call.first.dims
        kept, positions = operand[:-rank], operand[-rank:]
        shapes = [shape for shape in call.shapes if shape is not None]
        if all(size == 1 for size in shapes[0][-rank:]) and "adaptive_avg" in call.operator:
            call.mix(kept)
            return ((*kept, *([ONE] * rank)),)
        call.fix(positions, SLIDING)
        return tuple(
            None
            if shape is None
            else (*kept, *(call.fixed(size, SLIDING) for size in shape[-rank:]))
            for shape in call.shapes
        )

    return rule


def _unpooling(rank: int) -> Rule:
    def rule(call: Call) -> Dims:
        """Scatters values to the positions given by indices; batch and channels are unchanged."""
        operand, places = call["self"].dims, call["indices"].dims
        call.unify_all(operand[:-rank], places[:-rank])
        call.fix((*operand[-rank:], *places[-rank:]), SLIDING)
        return (*operand[:-rank], *(call.fixed(size, SLIDING) for size in call.shape[-rank:]))

    return rule


def _random_windows(rank: int) -> Rule:
    def rule(call: Call) -> Result:
        """Pooling over random windows, sampled for every batch entry and channel."""
        operand = call["self"].dims
        *kept, coordinates = call["random_samples"].dims
        call.fix([coordinates], "coordinates")
        for atom, other in zip(reversed(operand[:-rank]), reversed(kept), strict=False):
            if other.size > 1:
                call.unify(atom, other)
        return _windows(rank)(call)

    return rule


def grid_sample(call: Call) -> Dims:
    """Values at positions given by data: (batch, channels, positions of the grid)."""
    operand, grid = call["input"].dims, call["grid"].dims
    call.unify(operand[0], grid[0])
    call.fix(operand[2:], SLIDING)
    call.fix(grid[-1:], "coordinates")
    call.mix(operand[:2])
    return (*operand[:2], *grid[1:-1])


def columns(call: Call) -> Dims:
    """`im2col`: (channels × positions in the kernel), then the positions of the kernel."""
    *batch, channels, down, across = call["self"].dims
    call.fix([down, across], SLIDING)
    positions = call.fixed(call.shape[-2] // channels.size, "positions in a kernel")
    return (*batch, product_of([channels, positions]), call.fixed(call.shape[-1], SLIDING))


def folded(call: Call) -> Dims:
    """`col2im`: the inverse of `im2col`, with overlapping windows summed."""
    *batch, rows, places = call["self"].dims
    channels, *positions = call.shape[len(batch) :]
    outer, kernel = call.factor(rows, [channels, rows.size // channels])
    call.fix([kernel], "positions in a kernel")
    call.fix([places], SLIDING)
    call.mix((*batch, outer))
    return (*batch, outer, *(call.fixed(size, SLIDING) for size in positions))


_RANKED = """
    max_pool{}d max_pool{}d_with_indices avg_pool{}d _adaptive_avg_pool{}d adaptive_avg_pool{}d
    adaptive_max_pool{}d upsample_nearest{}d upsample_linear{}d _upsample_nearest_exact{}d
""".split()
_PLANE = """
    upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
""".split()

_CONVOLUTIONS = "convolution _convolution conv1d conv2d conv3d".split()

CONVOLUTIONS: dict[str, Rule] = {
    **{f"aten.{n}": convolution for n in _CONVOLUTIONS},
    **{f"aten.conv_transpose{rank}d": transposed_convolution for rank in (1, 2, 3)},
    **{f"aten.{n.format(rank)}": _windows(rank) for n in _RANKED for rank in (1, 2, 3)},
    **{f"aten.{n}": _windows(2) for n in _PLANE},
    **{f"aten.max_unpool{rank}d": _unpooling(rank) for rank in (2, 3)},
    **{f"aten.fractional_max_pool{rank}d": _random_windows(rank) for rank in (2, 3)},
    "aten.upsample_trilinear3d": _windows(3),
    "aten.grid_sampler_2d": grid_sample,
    "aten.grid_sampler_3d": grid_sample,
    "aten.im2col": columns,
    "aten.col2im": folded,
}
