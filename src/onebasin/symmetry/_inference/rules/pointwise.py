"""Rules for pointwise operators and operators that create tensors."""

from onebasin.symmetry._inference.atoms import ONE, Atom, Dims, fresh
from onebasin.symmetry._inference.calls import Call, Rule, Value


def pointwise(call: Call) -> tuple[Dims | None, ...]:
    """Unify the operands' dimensions, aligned at the right; size one broadcasts."""
    dims = broadcast(call, call.values, call.shape)
    return tuple(dims if shape is not None else None for shape in call.shapes)


def broadcast(call: Call, values: list[Value], shape: tuple[int, ...]) -> Dims:
    """Return the dimensions of `values` broadcast against each other to `shape`."""
    dims: list[Atom] = []
    for i, size in enumerate(shape):
        place = i - len(shape)
        operands = [value.dims[place] for value in values if len(value.dims) >= -place]
        same_size = [atom for atom in operands if atom.size == size]
        for other in same_size[1:]:
            call.unify(same_size[0], other)
        dims.append((same_size[0].root if same_size else fresh(size)) if size != 1 else ONE)
    return tuple(dims)


def copy(call: Call) -> Dims:
    """`copy(self, src)`: independent of the old values of self."""
    return broadcast(call, [call["src"]], call.shape)


def uniform(call: Call) -> tuple[Dims | None, ...]:
    """A tensor of equal entries: every dimension is free."""
    return tuple(
        None if shape is None else tuple(fresh(size) for size in shape) for shape in call.shapes
    )


def distinct(call: Call) -> tuple[Dims | None, ...]:
    """A tensor with position-dependent entries."""
    reason = "its values depend on the position"
    return tuple(
        None if shape is None else tuple(call.fixed(size, reason) for size in shape)
        for shape in call.shapes
    )


def identity(call: Call) -> tuple[Dims | None, ...]:
    """An operator that returns its first operand, possibly with another dtype or device."""
    dims = call.first.dims
    return tuple(dims if shape is not None else None for shape in call.shapes)


def nothing(call: Call) -> tuple[None, ...]:
    """A check or a query of sizes, without an output tensor."""
    return (None,) * len(call.shapes)


def fix_operands(call: Call, reason: str = "has no typing rule") -> tuple[Dims | None, ...]:
    """Fix all operands and outputs of an operator without a rule."""
    for value in call.values:
        call.fix(value.dims, reason, unsupported=True)
    return tuple(
        None if shape is None else tuple(call.fixed(size, reason) for size in shape)
        for shape in call.shapes
    )


def view_as_real(call: Call) -> Dims:
    """Real and imaginary part become a last dimension of size two."""
    return (*call["self"].dims, call.fixed(2, "real and imaginary part"))


def view_as_complex(call: Call) -> Dims:
    """A last dimension of size two becomes real and imaginary part."""
    dims = call["self"].dims
    call.fix(dims[-1:], "real and imaginary part")
    return dims[:-1]


_IDENTITY = """
    _to_copy clone alias detach lift_fresh lift_fresh_copy contiguous _conj conj resolve_conj
    resolve_neg real imag native_dropout dropout alias_copy detach_copy
    _neg_view to fused_dropout nan_to_num type_as
""".split()
_POINTWISE = """
    where masked_fill add sub mul div pow maximum minimum clamp complex polar lerp addcmul
    addcdiv fill _prelu_kernel __and__ __or__ __xor__ square
""".split()
_UNIFORM = """
    zeros ones full full_like zeros_like ones_like new_zeros new_ones new_full empty empty_like
    new_empty empty_strided new_empty_strided empty_permuted scalar_tensor
""".split()
_DISTINCT = """
    arange linspace logspace eye rand randn randint rand_like randn_like randint_like
    randperm tril_indices triu_indices hann_window
""".split()

_NOTHING = """
    _assert_tensor_metadata _assert_scalar _assert_async _functional_assert_async sym_size
    sym_stride sym_numel sym_constrain_range_for_size sym_constrain_range
""".split()

POINTWISE: dict[str, Rule] = {
    **{f"aten.{name}": pointwise for name in _POINTWISE},
    **{f"aten.{name}": identity for name in _IDENTITY},
    **{f"aten.{name}": uniform for name in _UNIFORM},
    **{f"aten.{name}": distinct for name in _DISTINCT},
    **{f"aten.{name}": nothing for name in _NOTHING},
    "aten.copy": copy,
    "aten.view_as_real": view_as_real,
    "aten.view_as_complex": view_as_complex,
}
