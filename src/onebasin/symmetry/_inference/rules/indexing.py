"""Rules for reading and writing at positions given by other tensors."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from onebasin.symmetry._inference.atoms import Atom, Dims, fresh, is_fixed, product_of
from onebasin.symmetry._inference.calls import Call, Rule, Value
from onebasin.symmetry._inference.rules.pointwise import broadcast
from onebasin.symmetry._inference.rules.reshapes import expanded
from onebasin.symmetry._inference.rules.slices import joined

ADDRESSED = "its positions are indexed by data"
MAX_RUNS = 16


def embedding(call: Call) -> Dims:
    """Rows of a table, one for each entry of the index."""
    rows, *rest = call["weight"].dims
    _address(call, (rows, *rest), {0})
    return (*call["indices"].dims, *rest)


def embedding_bag(call: Call) -> tuple[Dims | None, ...]:
    """Rows of a table, summed over bags; the other outputs are indices and counts."""
    rest = _address(call, call["weight"].dims, {0})
    for name in ("indices", "offsets", "per_sample_weights"):
        if call.get(name) is not None:
            call.fix(call[name].dims, "bags in order")
    bags, *numbers = call.shapes
    assert bags is not None
    return (
        (call.fixed(bags[0], "bags in order"), *rest),
        *(
            None if shape is None else tuple(call.fixed(size, ADDRESSED) for size in shape)
            for shape in numbers
        ),
    )


def _address(call: Call, dims: Dims, places: Iterable[int]) -> Dims:
    """Fix the indexed dimensions, and return the others, which cannot depend on them."""
    addressed = set(places)
    call.fix([dims[i] for i in addressed], ADDRESSED)
    rest = tuple(atom for i, atom in enumerate(dims) if i not in addressed)
    call.mix(rest)
    return rest


def index(call: Call) -> Dims:
    """`x[..., i, j, ...]`: the broadcast shape of the index tensors replaces their dimensions."""
    dims = call["self"].dims
    given = {i: value for i, value in enumerate(call["indices"]) if value is not None}
    if len(given) == 1:
        ((place, value),) = given.items()
        if len(value.dims) == 1:
            return _index_one(call, dims, place, value)
    rest = _address(call, dims, given)
    new = _index_dims(call, list(given.values()))
    places = sorted(given)
    adjacent = places == list(range(places[0], places[-1] + 1))
    at = places[0] if adjacent else 0
    return (*rest[:at], *new, *rest[at:])


def _index_dims(call: Call, values: list[Value]) -> Dims:
    shape = torch.broadcast_shapes(*(value.shape for value in values))
    return broadcast(call, values, tuple(shape))


def index_select(call: Call) -> Dims:
    """Positions of one dimension in the order of an index."""
    dims = call["self"].dims
    value = call["index"]
    place = call["dim"] % max(len(dims), 1)
    if not value.dims:
        value = replace(value, dims=(fresh(1),))
    return _index_one(call, dims, place, value)


def _index_one(call: Call, dims: Dims, place: int, value: Value) -> Dims:
    known = None if is_fixed(dims[place]) else value.constant()
    pieces = None if known is None else _known_index(call, dims, place, known)
    if pieces is not None:
        call.buffers.update(value.sources())
        return pieces
    _address(call, dims, {place})
    return (*dims[:place], *value.dims, *dims[place + 1 :])


def _known_index(call: Call, dims: Dims, place: int, positions: Tensor) -> Dims | None:
    """Return layouts for an index that consists of slices, repetition or tiling, else None."""
    size = dims[place].size
    positions = positions.long() % size
    runs = _runs(positions)
    if len(runs) <= min(MAX_RUNS, len(positions) // 2):
        return joined([call.take(dims, place, low, high) for low, high in runs], place)
    atom = _repeated(dims[place], positions)
    return None if atom is None else (*dims[:place], atom, *dims[place + 1 :])


def _runs(positions: Tensor) -> list[tuple[int, int]]:
    breaks = (torch.diff(positions) != 1).nonzero().flatten().tolist()
    starts = [0, *(i + 1 for i in breaks)]
    stops = [*starts[1:], len(positions)]
    values = positions.tolist()
    return [(values[low], values[high - 1] + 1) for low, high in zip(starts, stops, strict=True)]


def _repeated(atom: Atom, positions: Tensor) -> Atom | None:
    times, rest = divmod(len(positions), atom.size)
    if rest:
        return None
    base = torch.arange(atom.size, device=positions.device)
    if torch.equal(positions, base.repeat_interleave(times)):
        return product_of([atom, fresh(times)])
    if torch.equal(positions, base.repeat(times)):
        return product_of([fresh(times), atom])
    return None


def gather(call: Call) -> Dims:
    """Entries of one dimension, selected for every position of the others."""
    dims, chosen = call["self"].dims, call["index"].dims
    place = call["dim"] % max(len(dims), 1)
    _align(call, dims, chosen, place)
    _address(call, dims, {place} if dims else ())
    return chosen


def _align(call: Call, dims: Dims, chosen: Dims, place: int) -> None:
    for i, (a, b) in enumerate(zip(dims, chosen, strict=True)):
        if i == place:
            continue
        if a.size == b.size:
            call.unify(a, b)
        else:
            call.fix([a, b], "only its first positions are read")


def scatter(call: Call) -> Dims:
    """Replaces entries of one dimension at positions given by an index."""
    dims, chosen = call["self"].dims, call["index"].dims
    place = call["dim"] % max(len(dims), 1)
    source = call.get("src")
    operands = [chosen] + ([source.dims] if isinstance(source, Value) else [])
    for operand in operands:
        _align(call, dims, operand, place)
        call.fix(operand[place : place + 1], ADDRESSED)
    _address(call, dims, {place} if dims else ())
    return dims


def index_put(call: Call) -> Dims:
    """Replaces entries at index tensors; the other dimensions are those of the values."""
    dims = call["self"].dims
    given = {i: value for i, value in enumerate(call["indices"]) if value is not None}
    if any(value.boolean for value in given.values()):
        return _masked_put(call, dims, given)
    rest = _address(call, dims, given)
    new, values = _index_dims(call, list(given.values())), call["values"]
    places = sorted(given)
    if places != list(range(len(places))):
        call.fix([*rest, *values.dims], ADDRESSED)
        return dims
    written = (*new, *rest)
    broadcast(call, [Value(written), values], tuple(atom.size for atom in written))
    if not call.get("accumulate"):
        call.fix(new, "the last of several values at one position remains")
    return dims


def _masked_put(call: Call, dims: Dims, given: Mapping[int, Value]) -> Dims:
    """Write one value where a mask is true: pointwise. Several values have a fixed order."""
    if len(given) == 1 and prod(call["values"].shape) == 1:
        ((place, mask),) = given.items()
        call.unify_all(dims[place : place + len(mask.dims)], mask.dims)
    else:
        masks = [atom for value in given.values() for atom in value.dims]
        call.fix([*dims, *masks, *call["values"].dims], ADDRESSED)
    return dims


def masked_scatter(call: Call) -> Dims:
    """Values in order where a mask is true; whole rows if the mask is constant along rows."""
    dims, source = expanded(call["self"].dims, call.shape), call["source"].dims
    mask = expanded(call["mask"].dims, call.shape)
    rows = 0
    for atom, value, masked in zip(reversed(dims), reversed(source), reversed(mask), strict=False):
        if atom.size != value.size or not _is_one_value(masked):
            break
        rows += 1
    place, first = len(dims) - rows, len(source) - rows
    call.fix([*mask[:place], *source[:first]], ADDRESSED)
    call.unify_all(dims[place:], source[first:])
    _address(call, dims, range(place))
    call.mix(source[first:])
    return dims


def _is_one_value(atom: Atom) -> bool:
    """Whether a tensor is constant along a dimension; only expanded dimensions have no origin."""
    root = atom.root
    return root.form is None and root.fixed_by is None and not root.homes


def index_write(call: Call) -> Dims:
    """`index_add`, `index_copy`: writes slices of one dimension."""
    dims, source = call["self"].dims, call["source"].dims
    place = call["dim"] % max(len(dims), 1)
    call.fix([*source[place : place + 1], *call["index"].dims], ADDRESSED)
    for i in set(range(len(dims))) - {place}:
        call.unify(dims[i], source[i])
    _address(call, dims, {place})
    return dims


def search(call: Call) -> Dims:
    """`bucketize`, `searchsorted`: pointwise in the operand; the sequence is ordered."""
    sequence = call.get("boundaries", call.get("sorted_sequence")).dims
    call.fix(sequence[-1:], "in ascending order")
    if call.get("sorter") is not None:
        call.fix(call["sorter"].dims, ADDRESSED)
    operand = call["self"]
    if not isinstance(operand, Value):
        return ()
    call.unify_all(sequence[:-1], operand.dims[: len(sequence) - 1])
    call.mix(operand.dims)
    return operand.dims


def one_hot(call: Call) -> Dims:
    """Integers become positions of a new last dimension."""
    return (*call["self"].dims, call.fixed(call.shape[-1], ADDRESSED))


def take_anywhere(call: Call) -> Dims:
    """Entries at indices into the flattened tensor."""
    call.fix(call["self"].dims, ADDRESSED)
    return call["index"].dims


INDEXING: dict[str, Rule] = {
    **{f"aten.{n}": index for n in ("index", "_unsafe_index")},
    **{f"aten.{n}": scatter for n in ("scatter", "scatter_add", "scatter_reduce")},
    **{f"aten.{n}": index_put for n in ("index_put", "_unsafe_index_put")},
    **{f"aten.{n}": index_write for n in ("index_add", "index_copy", "index_reduce")},
    "aten.embedding": embedding,
    "aten._embedding_bag": embedding_bag,
    "aten._embedding_bag_forward_only": embedding_bag,
    "aten.index_select": index_select,
    "aten.gather": gather,
    "aten.one_hot": one_hot,
    "aten.take": take_anywhere,
    "aten.masked_scatter": masked_scatter,
    "aten.bucketize": search,
    "aten.searchsorted": search,
}
