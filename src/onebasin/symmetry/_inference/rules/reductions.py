"""Rules for operators along a dimension: the dimension is free if the operator is symmetric."""

from onebasin.symmetry._inference.atoms import ONE, Dims
from onebasin.symmetry._inference.calls import Call, Rule
from onebasin.symmetry._inference.rules.pointwise import pointwise


def _reduced(dims: Dims, places: set[int], *, keep: bool) -> Dims:
    kept = ((ONE if i in places else atom, i in places) for i, atom in enumerate(dims))
    return tuple(atom for atom, gone in kept if keep or not gone)


def _places(call: Call, dims: Dims) -> set[int]:
    wanted = call.get("dim")
    if wanted == [] and call.shape == tuple(atom.size for atom in dims):
        return set()  # `any` and `all` then reduce over no dimension, other operators over all
    if wanted is None or wanted == []:
        return set(range(len(dims)))
    return {i % max(len(dims), 1) for i in ([wanted] if isinstance(wanted, int) else wanted)}


def reduce(call: Call) -> tuple[Dims | None, ...]:
    """A symmetric reduction, independent of the order of the reduced dimensions."""
    dims = call.first.dims
    result = _reduced(dims, _places(call, dims), keep=call.get("keepdim", False))
    return tuple(result if shape is not None else None for shape in call.shapes)


def locate(call: Call) -> tuple[Dims | None, ...]:
    """A reduction that also returns positions; symmetric if the positions are not used."""
    if len(call.shapes) > 1 and not call.uses(1):
        return reduce(call)
    dims = call.first.dims
    places = _places(call, dims)
    call.fix([dims[i] for i in places], "its positions are returned as indices")
    return reduce(call)


def extreme(call: Call) -> tuple[Dims | None, ...]:
    """`max` and `min`: pointwise with two tensors, symmetric, or with positions."""
    if call.get("other") is not None:
        return pointwise(call)
    return locate(call) if len(call.shapes) > 1 else reduce(call)


def softmax(call: Call) -> Dims:
    """Normalization along one dimension: symmetric in this dimension."""
    dims = call.first.dims
    call.mix(_reduced(dims, _places(call, dims), keep=False))
    return dims


def scan(call: Call) -> tuple[Dims | None, ...]:
    """Cumulative operators, which depend on the order of their dimension."""
    dims = call.first.dims
    places = _places(call, dims)
    call.fix([dims[i] for i in places], "accumulated in order")
    call.mix(_reduced(dims, places, keep=False))
    return tuple(dims if shape is not None else None for shape in call.shapes)


def order(call: Call) -> tuple[Dims | None, ...]:
    """`sort` and `topk`: positions of the result are ranks.

    Returned values do not depend on the order of the operand; returned positions do.
    """
    return _order(call, call.get("dim", -1))


def order_first(call: Call) -> tuple[Dims | None, ...]:
    """`msort`: sorts along the first dimension."""
    return _order(call, 0)


def _order(call: Call, dim: int) -> tuple[Dims | None, ...]:
    dims = call.first.dims
    place = dim % max(len(dims), 1)
    returns_positions = call.operator.startswith("aten.argsort")
    if returns_positions or (len(call.shapes) > 1 and call.uses(1)):
        call.fix(dims[place : place + 1], "sorted, with positions returned as indices")
    call.mix(_reduced(dims, {place}, keep=False))
    return tuple(
        (*dims[:place], call.fixed(shape[place], "ranks"), *dims[place + 1 :])
        if shape is not None
        else None
        for shape in call.shapes
    )


def triangle(call: Call) -> Dims:
    """`tril` and `triu`: keep entries by their position in the last two dimensions."""
    dims = call["self"].dims
    call.fix(dims[-2:], "masked by position")
    return dims


def fourier(call: Call) -> tuple[Dims | None, ...]:
    """Fourier transforms: positions become frequencies."""
    dims, wanted = call["self"].dims, call["dim"]
    places = {i % len(dims) for i in ([wanted] if isinstance(wanted, int) else wanted)}
    call.fix([dims[i] for i in places], "Fourier transform")
    return (
        tuple(
            call.fixed(call.shape[i], "frequencies") if i in places else atom
            for i, atom in enumerate(dims)
        ),
    )


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    """Return a table with one rule for all named operators."""
    return {f"aten.{name}": rule for name in names.split()}


REDUCTIONS: dict[str, Rule] = {
    **_each(
        "sum mean prod amax amin var std var_mean std_mean logsumexp any all norm nansum "
        "linalg_vector_norm count_nonzero aminmax _euclidean_norm",
        reduce,
    ),
    **_each("max min", extreme),
    **_each("argmax argmin", locate),
    **_each("median nanmedian mode kthvalue", extreme),
    **_each("_softmax _log_softmax softmax log_softmax _safe_softmax", softmax),
    **_each("cumsum cumprod logcumsumexp cummax cummin", scan),
    **_each("sort topk argsort", order),
    **_each("msort", order_first),
    **_each("tril triu", triangle),
    **_each("_fft_c2c _fft_r2c _fft_c2r", fourier),
}
