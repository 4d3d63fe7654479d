"""Rules for products that sum over a dimension: matrix products and attention."""

from collections.abc import Sequence

from onebasin.symmetry._inference.atoms import Atom, Dims, fresh
from onebasin.symmetry._inference.calls import Call, Rule, Value
from onebasin.symmetry._inference.rules.pointwise import broadcast


def matmul(call: Call) -> Dims:
    """`(..., n, m) @ (..., m, p)` with broadcast batch dimensions; vectors as in PyTorch."""
    a, b = (call.get("self") or call.get("input")), call.get("mat2", call.get("other"))
    return _matmul(call, a, b if b is not None else call.get("vec", call.get("tensor")))


def _matmul(call: Call, a: Value, b: Value) -> Dims:
    left = a.dims if len(a.dims) > 1 else (fresh(1), *a.dims)
    right = b.dims if len(b.dims) > 1 else (*b.dims, fresh(1))
    call.unify(left[-1], right[-2])
    batch = _batch(call, left[:-2], right[:-2])
    rows = left[-2:-1] if len(a.dims) > 1 else ()
    columns = right[-1:] if len(b.dims) > 1 else ()
    call.mix((*batch, *rows, *columns, left[-1]))
    return (*batch, *rows, *columns)


def _batch(call: Call, left: Dims, right: Dims) -> Dims:
    shapes = [tuple(atom.size for atom in dims) for dims in (left, right)]
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    shape = tuple(max(sizes) for sizes in zip(*padded, strict=True))
    return broadcast(call, [Value(left), Value(right)], shape)


def add_matmul(call: Call) -> Dims:
    """`addmm`, `baddbmm`, `addmv`: a matrix product plus a broadcast term."""
    first = call.get("mat1", call.get("batch1", call.get("mat")))
    second = call.get("mat2", call.get("batch2", call.get("vec")))
    dims = _matmul(call, first, second)
    return broadcast(call, [Value(dims), call["self"]], call.shape)


def linear(call: Call) -> Dims:
    """`x @ weight.T + bias`."""
    operand, weight, bias = call["input"].dims, call["weight"].dims, call.get("bias")
    call.unify(operand[-1], weight[-1])
    if bias is not None:
        call.unify(weight[0], bias.dims[0])
    call.mix((*operand[:-1], *weight))
    return (*operand[:-1], *weight[:-1])


def attention(call: Call) -> tuple[Dims | None, ...]:
    """Scaled dot-product attention on (batch, heads, positions, channels).

    With fewer key heads than query heads, a query head is a pair (key head, repeat).
    """
    query, key, value = (call[name].dims for name in ("query", "key", "value"))
    batch = broadcast(
        call, [Value(query[:-3]), Value(key[:-3]), Value(value[:-3])], call.shape[:-3]
    )
    call.unify(query[-1], key[-1])
    call.unify(key[-2], value[-2])
    heads = _shared_heads(call, (query[-3], key[-3], value[-3]))
    scores = (*batch, heads, query[-2], key[-2])
    for name in ("attn_mask", "attn_bias", "dropout_mask"):
        if call.get(name) is not None:
            broadcast(call, [Value(scores), call[name]], tuple(atom.size for atom in scores))
    if call.get("is_causal"):
        call.fix((query[-2], key[-2]), "causal mask")
    for channels in (query[-1], value[-1]):
        call.mix((*scores, channels))
    call.mix((*batch, heads, query[-2]))
    output = (*batch, heads, query[-2], value[-1])
    return (output, *(_side_output(call, output, shape) for shape in call.shapes[1:]))


def _shared_heads(call: Call, heads: Dims) -> Atom:
    """Return the heads of the output; operands with fewer heads repeat each head."""
    size = call.shape[-3]
    whole = next(atom for atom in heads if atom.size == size)
    for atom in heads:
        if atom.size == size:
            call.unify(whole, atom)
        elif atom.size > 1:
            outer, _ = call.factor(whole, [atom.size, size // atom.size])
            call.unify(outer, atom)
    return whole.root


def _side_output(call: Call, output: Dims, shape: tuple[int, ...] | None) -> Dims | None:
    if shape is None:
        return None
    known = output[: len(shape)] if shape == tuple(a.size for a in output[: len(shape)]) else None
    return known or tuple(call.fixed(size, "side output of attention") for size in shape)


def grouped_matmul(call: Call) -> Dims:
    """Rows sorted by expert, times the matrix of their expert: `(s, k)` by `(experts, k, n)`."""
    rows, weight = (value.dims for value in call.values[:2])
    for value in call.values[2:]:
        call.fix(value.dims, "counts of rows")
    call.unify(rows[-1], weight[-2])
    call.fix(weight[:-2], "selected by index")
    call.mix((*rows[:-1], *weight[-2:]))
    return (*rows[:-1], weight[-1])


def distances(call: Call) -> Dims:
    """Pairwise distances between two sets of points, summed over the coordinates."""
    a, b = call["x1"].dims, call["x2"].dims
    call.unify(a[-1], b[-1])
    pairs = (*_batch(call, a[:-2], b[:-2]), a[-2], b[-2])
    call.mix((*pairs, a[-1]))
    return pairs


def distances_within(call: Call) -> Dims:
    """Distances between all pairs of one set of points, in a flat order."""
    points, coordinates = call["self"].dims
    call.fix([points], "pairs in order")
    call.mix((coordinates,))  # every pair needs the same order of the coordinates
    return (call.fixed(call.shape[0], "pairs in order"),)


def trilinear(call: Call) -> Dims:
    """Three operands, broadcast, multiplied and summed over some dimensions (`nn.Bilinear`)."""
    pairs = (("i1", "expand1"), ("i2", "expand2"), ("i3", "expand3"))
    operands = [Value(_unsqueezed(call[name].dims, call[expand])) for name, expand in pairs]
    sizes = zip(*(value.shape for value in operands), strict=True)
    dims = broadcast(call, operands, tuple(max(each) for each in sizes))
    call.mix(dims)
    gone = {i % len(dims) for i in call["sumdim"]}
    return tuple(atom for i, atom in enumerate(dims) if i not in gone)


def _unsqueezed(dims: Dims, places: Sequence[int]) -> Dims:
    for place in places:
        dims = (*dims[:place], fresh(1), *dims[place:])
    return dims


_ATTENTION = """
    scaled_dot_product_attention _scaled_dot_product_flash_attention
    _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention
    _scaled_dot_product_cudnn_attention _scaled_dot_product_attention_math
    _scaled_dot_product_attention_math_for_mps _scaled_dot_product_fused_attention_overrideable
""".split()

CONTRACTIONS: dict[str, Rule] = {
    **{f"aten.{n}": matmul for n in ("mm", "bmm", "matmul", "mv", "dot", "vdot")},
    **{f"aten.{n}": add_matmul for n in ("addmm", "baddbmm", "addmv")},
    **{f"aten.{n}": attention for n in _ATTENTION},
    "aten.linear": linear,
    "aten._grouped_mm": grouped_matmul,
    "transformers.grouped_mm_fallback": grouped_matmul,
    "aten._trilinear": trilinear,
    "aten._cdist_forward": distances,
    "aten.cdist": distances,
    "aten._pdist_forward": distances_within,
}
