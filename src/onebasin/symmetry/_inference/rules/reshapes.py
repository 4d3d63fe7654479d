"""Rules for operators that only rearrange dimensions: views, transposes, expansions."""

from collections.abc import Sequence
from math import prod

from onebasin.symmetry._inference.atoms import ONE, Atom, Dims, fresh, product_of
from onebasin.symmetry._inference.calls import Call, Rule


def view(call: Call) -> Dims:
    """A row-major reshape, which creates and splits products, or a view as another dtype."""
    dims = call["self"].dims
    if call.get("dtype") is None or not dims:
        return call.regroup(dims, call.shape)
    size, last = call.shape[-1], dims[-1]
    if size >= last.size:  # every entry is split into several smaller ones
        pieces = call.fixed(size // last.size, "bytes of an entry")
        return (*dims[:-1], product_of([last, pieces]))
    outer, inner = call.factor(last, [size, last.size // size])
    call.fix([inner], "bytes of an entry")
    return (*dims[:-1], outer)


def permute(call: Call) -> Dims:
    """A permutation of dimensions."""
    dims = call["self"].dims
    return tuple(dims[i] for i in call["dims"])


def transpose(call: Call) -> Dims:
    """Two dimensions are swapped."""
    dims = list(call["self"].dims)
    i, j = call.get("dim0", 0), call.get("dim1", 1)
    if len(dims) > 1:
        dims[i], dims[j] = dims[j], dims[i]
    return tuple(dims)


def unsqueeze(call: Call) -> Dims:
    """A new dimension of size one."""
    dims = call["self"].dims
    place = call["dim"] % (len(dims) + 1)
    return (*dims[:place], ONE, *dims[place:])


def squeeze(call: Call) -> Dims:
    """Dimensions of size one are removed."""
    dims = call["self"].dims
    wanted = call.get("dim", range(len(dims)))
    places = {i % max(len(dims), 1) for i in ([wanted] if isinstance(wanted, int) else wanted)}
    return tuple(a for i, a in enumerate(dims) if not (i in places and a.size == 1))


def expand(call: Call) -> Dims:
    """An expanded dimension repeats one value and is a new free atom."""
    return expanded(call["self"].dims, call.shape)


def expanded(dims: Dims, shape: Sequence[int]) -> Dims:
    """Return dimensions expanded to a shape, with new dimensions as fresh atoms."""
    padded = (ONE,) * (len(shape) - len(dims)) + dims
    return tuple(
        atom if atom.size == size else fresh(size) for atom, size in zip(padded, shape, strict=True)
    )


def repeat(call: Call) -> Dims:
    """Tiling: a free outer factor for every repeated dimension."""
    repeats = call["repeats"]
    dims = (ONE,) * (len(repeats) - len(call["self"].dims)) + call["self"].dims
    return tuple(
        product_of([fresh(times), atom]) for atom, times in zip(dims, repeats, strict=True)
    )


def repeat_interleave(call: Call) -> Dims:
    """Repeats every position several times: a free inner factor."""
    times = call["repeats"]
    if call.get("self") is None:  # the output contains the positions
        call.fix(times.dims, "repetition counts from data")
        return (call.fixed(call.shape[0], "repetition counts from data"),)
    dims = call["self"].dims
    if call.get("dim") is None:
        dims, dim = (product_of(dims),), 0
    else:
        dim = call["dim"] % len(dims)
    if isinstance(times, int):
        repeated = product_of([dims[dim], fresh(times)])
    else:
        call.fix([dims[dim]], "repetition counts from data")
        repeated = call.fixed(call.shape[dim], "repetition counts from data")
    return (*dims[:dim], repeated, *dims[dim + 1 :])


def move(call: Call) -> Dims:
    """`movedim`: moves some dimensions; the others keep their order."""
    dims = call["self"].dims
    source, target = (
        [i] if isinstance(i, int) else i for i in (call["source"], call["destination"])
    )
    places = {t % len(dims): s % len(dims) for s, t in zip(source, target, strict=True)}
    rest = iter(i for i in range(len(dims)) if i not in places.values())
    return tuple(dims[places[i] if i in places else next(rest)] for i in range(len(dims)))


def as_strided(call: Call) -> Dims:
    """A strided view that equals a permuted or contiguous view; others are unsupported."""
    operand, sizes, strides = call["self"], list(call["size"]), list(call["stride"])
    if operand.dense and prod(sizes) == prod(operand.shape) and not call.get("storage_offset"):
        if _is_contiguous(sizes, strides):
            return call.regroup(operand.dims, sizes)
        order = sorted(range(len(sizes)), key=lambda i: -strides[i])
        kept = [i for i in order if sizes[i] > 1]
        if _is_contiguous([sizes[i] for i in kept], [strides[i] for i in kept]):
            atoms = dict(
                zip(kept, call.regroup(operand.dims, [sizes[i] for i in kept]), strict=True)
            )
            return tuple(atoms.get(i, ONE) for i in range(len(sizes)))
    reason = "strided view that is not a reshape"
    call.fix(operand.dims, reason, unsupported=True)
    return tuple(call.fixed(size, reason) for size in sizes)


def _is_contiguous(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    expected = 1
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def unfold(call: Call) -> Dims:
    """Sliding windows along one dimension; positions in the window are the last dimension."""
    dims = list(call["self"].dims)
    place = call["dimension"] % len(dims)
    call.fix([dims[place]], "split into windows")
    dims[place] = call.fixed(call.shape[place], "windows in order")
    return (*dims, call.fixed(call.shape[-1], "positions in a window"))


def pixel_shuffle(call: Call) -> Dims:
    """Channels (c × r × r) become positions: c, (h × r) and (w × r)."""
    *batch, channels, height, width = call["self"].dims
    r = call["upscale_factor"]
    outer, down, across = call.factor(channels, [channels.size // r**2, r, r])
    return (*batch, outer, product_of([height, down]), product_of([width, across]))


def pixel_unshuffle(call: Call) -> Dims:
    """Positions become channels: the inverse of `pixel_shuffle`."""
    *batch, channels, height, width = call["self"].dims
    r = call["downscale_factor"]
    h, down = call.factor(height, [height.size // r, r])
    w, across = call.factor(width, [width.size // r, r])
    return (*batch, product_of([channels, down, across]), h, w)


def channel_shuffle(call: Call) -> Dims:
    """Channels (g × c) become (c × g)."""
    batch, channels, *rest = call["self"].dims
    groups = call["groups"]
    outer, inner = call.factor(channels, [groups, channels.size // groups])
    return (batch, product_of([inner, outer]), *rest)


def diagonal(call: Call) -> Dims:
    """The diagonal of two dimensions, which are unified; it becomes the last dimension."""
    dims = call["self"].dims
    i, j = call.get("dim1", 0) % len(dims), call.get("dim2", 1) % len(dims)
    rest: tuple[Atom, ...] = tuple(a for k, a in enumerate(dims) if k not in (i, j))
    if call.get("offset", 0) == 0 and dims[i].size == dims[j].size:
        call.unify(dims[i], dims[j])
        return (*rest, dims[i])
    call.fix([dims[i], dims[j]], "diagonal with an offset")
    return (*rest, call.fixed(call.shape[-1], "a diagonal"))


RESHAPES: dict[str, Rule] = {
    **{
        f"aten.{n}": view
        for n in (
            "view",
            "view_as",
            "_unsafe_view",
            "reshape",
            "flatten",
            "_reshape_alias",
            "unflatten",
            "view_copy",
        )
    },
    **{f"aten.{n}": permute for n in ("permute", "permute_copy")},
    **{f"aten.{n}": transpose for n in ("transpose", "t", "transpose_copy")},
    **{f"aten.{n}": unsqueeze for n in ("unsqueeze", "unsqueeze_copy")},
    **{f"aten.{n}": squeeze for n in ("squeeze", "squeeze_copy")},
    **{f"aten.{n}": expand for n in ("expand", "expand_copy", "broadcast_to")},
    "aten.repeat": repeat,
    "aten.repeat_interleave": repeat_interleave,
    "aten.movedim": move,
    "aten.as_strided": as_strided,
    "aten.as_strided_copy": as_strided,
    "aten.unfold": unfold,
    "aten.pixel_shuffle": pixel_shuffle,
    "aten.pixel_unshuffle": pixel_unshuffle,
    "aten.channel_shuffle": channel_shuffle,
    "aten.native_channel_shuffle": channel_shuffle,
    "aten.diagonal": diagonal,
    "aten.diagonal_copy": diagonal,
}
