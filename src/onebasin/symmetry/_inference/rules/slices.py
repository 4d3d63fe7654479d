"""Rules for slicing and concatenation, which create and split sums."""

from collections.abc import Sequence

from onebasin.symmetry._inference.atoms import ONE, Atom, Dims, family_of, fresh, is_fixed, sum_of
from onebasin.symmetry._inference.calls import Call, Rule, Value


def slice_tensor(call: Call) -> Dims:
    """Positions from start to end of one dimension, with a step."""
    dims, dim = call["self"].dims, call.get("dim", 0) % len(call["self"].dims)
    start, stop = _bounds(dims[dim].size, call.get("start"), call.get("end"))
    return _stepped(call, dims, dim, start, stop, call.get("step", 1))


def _bounds(size: int, start: int | None, stop: int | None) -> tuple[int, int]:
    low, high, _ = slice(start, stop).indices(size)
    return low, max(low, high)


def _stepped(call: Call, dims: Dims, dim: int, start: int, stop: int, step: int) -> Dims:
    if step == 1:
        return call.take(dims, dim, start, stop)
    size = dims[dim].size
    if start < step and size % step == 0 and -(-(stop - start) // step) == size // step:
        outer, inner = call.factor(dims[dim], [size // step, step])
        opened = (*dims[:dim], outer, inner, *dims[dim + 1 :])
        chosen = call.take(opened, dim + 1, start, start + 1)
        return (*chosen[: dim + 1], *chosen[dim + 2 :])
    call.fix([dims[dim]], "strided slice")
    return (*dims[:dim], call.fixed(call.shape[dim], "strided slice"), *dims[dim + 1 :])


def select(call: Call) -> Dims:
    """One position of a dimension, which is removed."""
    dims = call["self"].dims
    dim = call["dim"] % len(dims)
    index = call["index"] % dims[dim].size
    taken = call.take(dims, dim, index, index + 1)
    return (*taken[:dim], *taken[dim + 1 :])


def split(call: Call) -> list[Dims | None]:
    """Consecutive pieces of one dimension."""
    dims = call["self"].dims
    dim = call.get("dim", 0) % len(dims)
    pieces: list[Dims | None] = []
    offset = 0
    for shape in call.shapes:
        assert shape is not None
        pieces.append(call.take(dims, dim, offset, offset + shape[dim]))
        offset += shape[dim]
    return pieces


def unbind(call: Call) -> list[Dims | None]:
    """Every position of a dimension as a separate tensor."""
    dims = call["self"].dims
    dim = call.get("dim", 0) % len(dims)
    taken = [call.take(dims, dim, i, i + 1) for i in range(dims[dim].size)]
    return [(*t[:dim], *t[dim + 1 :]) for t in taken]


def cat(call: Call) -> Dims:
    """Concatenation along an existing dimension."""
    values = [value for value in call["tensors"] if value.shape != (0,)]
    return joined([value.dims for value in values], call.get("dim", 0) % len(values[0].dims))


def stack(call: Call) -> Dims:
    """Concatenation along a new dimension."""
    values: list[Value] = call["tensors"]
    dim = call.get("dim", 0) % (len(values[0].dims) + 1)
    return joined([(*v.dims[:dim], ONE, *v.dims[dim:]) for v in values], dim)


def joined(pieces: Sequence[Dims], dim: int) -> Dims:
    """Return the layouts of a concatenation; other dimensions may differ between the parts."""
    pieces = [piece for piece in pieces if piece[dim].size]
    if len(pieces) == 1:
        return pieces[0]
    key = sum_of([piece[dim] for piece in pieces])
    spans = [piece[dim].size for piece in pieces]
    return tuple(
        key if i == dim else family_of(key, spans, [piece[i] for piece in pieces])
        for i in range(len(pieces[0]))
    )


def slice_scatter(call: Call) -> Dims:
    """Replaces a slice: the part before it, the replacement, the part after it."""
    dims, source = call["self"].dims, call["src"].dims
    dim = call.get("dim", 0) % len(dims)
    start, stop = _bounds(dims[dim].size, call.get("start"), call.get("end"))
    if call.get("step", 1) != 1:
        call.fix([dims[dim], source[dim]], "strided slice is replaced")
        for i in set(range(len(dims))) - {dim}:
            call.unify(dims[i], source[i])
        return dims
    return _replaced(call, dims, source, dim, start, stop)


def select_scatter(call: Call) -> Dims:
    """Replaces one position."""
    dims, source = call["self"].dims, call["src"].dims
    dim = call["dim"] % len(dims)
    index = call["index"] % dims[dim].size
    return _replaced(call, dims, (*source[:dim], ONE, *source[dim:]), dim, index, index + 1)


def _replaced(call: Call, dims: Dims, source: Dims, dim: int, start: int, stop: int) -> Dims:
    before = call.take(dims, dim, 0, start)
    after = call.take(dims, dim, stop, dims[dim].size)
    return joined([before, source, after], dim)


def constant_pad(call: Call) -> Dims:
    """Constant padding adds free positions at both ends; negative padding crops."""
    dims, pads = call["self"].dims, call["pad"]
    for i in range(len(pads) // 2):
        dim, (low, high) = len(dims) - 1 - i, pads[2 * i : 2 * i + 2]
        size = dims[dim].size
        dims = call.take(dims, dim, max(-low, 0), size - max(-high, 0))
        dims = (*dims[:dim], _padded(call, dims[dim], max(low, 0), max(high, 0)), *dims[dim + 1 :])
    return dims


def _padded(call: Call, atom: Atom, low: int, high: int) -> Atom:
    if not low and not high:
        return atom
    if is_fixed(atom):
        return call.fixed(low + atom.size + high, "padded positions")
    return sum_of([fresh(low) if low else Atom(0), atom, fresh(high) if high else Atom(0)])


def pad(call: Call) -> Dims:
    """Padding with any mode."""
    return constant_pad(call) if call.get("mode", "constant") == "constant" else pad_positions(call)


def narrow(call: Call) -> Dims:
    """`length` positions from `start` on."""
    dims = call["self"].dims
    dim = call["dim"] % len(dims)
    start = call["start"] % dims[dim].size if call["start"] < 0 else call["start"]
    return call.take(dims, dim, start, start + call["length"])


def glu(call: Call) -> Dims:
    """The first half of a dimension times the sigmoid of the second half."""
    dims = call["self"].dims
    dim = call.get("dim", -1) % len(dims)
    half = dims[dim].size // 2
    first, gate = call.take(dims, dim, 0, half), call.take(dims, dim, half, 2 * half)
    call.unify_all(first, gate)
    return first


def difference(call: Call) -> Dims:
    """Differences of neighbors."""
    dims = call["self"].dims
    dim = call.get("dim", -1) % len(dims)
    for name in ("prepend", "append"):
        if call.get(name) is not None:
            others = call[name].dims
            call.unify_all(dims[:dim] + dims[dim + 1 :], others[:dim] + others[dim + 1 :])
            call.fix([others[dim]], "difference of neighbors")
    call.fix([dims[dim]], "difference of neighbors")
    fixed = call.fixed(call.shape[dim], "difference of neighbors")
    return (*dims[:dim], fixed, *dims[dim + 1 :])


def reorder(call: Call) -> Dims:
    """`flip` and `roll`: a fixed permutation of positions."""
    dims = call["self"].dims
    places = call["dims"] or range(len(dims))
    moved = {i % len(dims) for i in places}
    call.fix([dims[i] for i in moved], "fixed permutation of positions")
    return tuple(
        call.fixed(a.size, "fixed permutation of positions") if i in moved else a
        for i, a in enumerate(dims)
    )


def pad_positions(call: Call) -> Dims:
    """Reflection and replication padding copy positions near the border."""
    dims = call["self"].dims
    count = len(call.get("padding", call.get("pad"))) // 2
    call.fix(dims[-count:], "padded by copies of its border")
    return (*dims[:-count], *(call.fixed(n, "padded positions") for n in call.shape[-count:]))


SLICES: dict[str, Rule] = {
    **{f"aten.{n}": slice_tensor for n in ("slice", "slice_copy")},
    **{f"aten.{n}": select for n in ("select", "select_copy")},
    **{
        f"aten.{n}": split
        for n in (
            "split",
            "split_with_sizes",
            "chunk",
            "split_copy",
            "split_with_sizes_copy",
            "tensor_split",
        )
    },
    **{f"aten.{n}": unbind for n in ("unbind", "unbind_copy")},
    **{f"aten.{n}": cat for n in ("cat", "concat", "concatenate")},
    **{
        f"aten.{n}": pad_positions
        for dim in "123"
        for n in (f"reflection_pad{dim}d", f"replication_pad{dim}d")
    },
    "aten.stack": stack,
    "aten.slice_scatter": slice_scatter,
    "aten.select_scatter": select_scatter,
    "aten.constant_pad_nd": constant_pad,
    "aten.pad": pad,
    "aten.narrow": narrow,
    "aten.glu": glu,
    "aten.diff": difference,
    "aten.flip": reorder,
    "aten.roll": reorder,
}
