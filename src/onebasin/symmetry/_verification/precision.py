"""Execution of a forward pass in one precision, with random operators replaced.

Owns the dispatch mode that converts every operator to one floating precision, and the
conversion of inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only


def grouped_product(
    mat_a: Tensor,
    mat_b: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the result of `aten._grouped_mm`, which only has kernels for low precision.

    A matrix without a group dimension is split at `offs`. If both matrices have a group
    dimension, the result is a batched product.

    Args:
        mat_a: `(g, m, k)`, or `(rows, k)` split by rows, or `(m, k)` split by columns.
        mat_b: `(g, k, n)`, or `(k, columns)` split by columns, or `(k, n)` split by rows.
        offs: end offsets of the pieces `(g,)`.
        bias: added to the result.
        out_dtype: ignored; the result has the precision of the matrices.
    """
    if mat_a.dim() == mat_b.dim() == 3:
        product = mat_a @ mat_b
    else:
        assert offs is not None, "one matrix has no group dimension and no offsets"
        product = _product_of_pieces(mat_a, mat_b, offs.tolist())
    return product if bias is None else product + bias


def _product_of_pieces(mat_a: Tensor, mat_b: Tensor, ends: list[int]) -> Tensor:
    pieces = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    if mat_a.dim() == mat_b.dim() == 2:
        return torch.stack([mat_a[:, piece] @ mat_b[piece] for piece in pieces])
    if mat_a.dim() == 2:
        result = mat_a.new_zeros(mat_a.shape[0], mat_b.shape[2])
        for piece, matrix in zip(pieces, mat_b, strict=True):
            result[piece] = mat_a[piece] @ matrix
        return result
    result = mat_a.new_zeros(mat_a.shape[1], mat_b.shape[1])
    for piece, matrix in zip(pieces, mat_a, strict=True):
        result[:, piece] = matrix @ mat_b[:, piece]
    return result


DROPOUT = "native_dropout"
BERNOULLI = ("bernoulli", "bernoulli_")
RANDOM = frozenset(
    {DROPOUT, *BERNOULLI}
    | {"rand", "randn", "rand_like", "randn_like", "normal", "normal_", "uniform", "uniform_"}
    | {"exponential", "exponential_", "log_normal", "log_normal_", "cauchy", "cauchy_"}
)


def is_random(func: Any) -> bool:
    """Return whether an ATen operator draws independent noise for every entry."""
    return func._schema.name.removeprefix("aten::") in RANDOM


def without_noise(func: Any, result: Any, args: tuple[Any, ...]) -> Any:
    """Return the result of a random operator with the same value in every entry.

    Reordering independent noise preserves its distribution, so a symmetry must also hold for
    equal values. Random events are replaced by their probabilities.

    Args:
        func: the operator.
        result: its result; overwritten for in-place operators.
        args: its positional arguments.
    """
    name = func._schema.name.removeprefix("aten::")
    if name == DROPOUT:
        return args[0].clone(), torch.ones_like(result[1])
    if name in BERNOULLI:
        parameters = args if name == "bernoulli" and len(args) == 1 else args[1:]
        return _filled(result, parameters[0] if parameters else 0.5)
    parameters = [arg for arg in args if isinstance(arg, Tensor) and arg is not result]
    if name == "normal" and parameters:
        return _filled(result, parameters[0])
    return _filled(result, result.double().mean()) if result.is_floating_point() else result


def _filled(result: Tensor, value: Tensor | float) -> Tensor:
    return result.copy_(value) if isinstance(value, Tensor) else result.fill_(value)


FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex32, torch.complex64, torch.complex128)
COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}
SOFTMAXES = (torch.ops.aten._softmax.default, torch.ops.aten._log_softmax.default)
# Replacements for operators that PyTorch implements in low precision only.
KERNELS: Mapping[Any, Callable[..., Tensor]] = {torch.ops.aten._grouped_mm.default: grouped_product}
# Functions that convert Python numbers to a tensor of the default precision.
FACTORIES = (torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.full)


class OnePrecision(TorchDispatchMode):
    """Runs every operator in one precision, regardless of the model's casts.

    Attention and normalization layers often compute in float32 on purpose. Its rounding
    makes two equal functions differ by 1e-6, which hides a small true difference. Under this
    mode, a cast to another precision becomes a cast to this one. Operator results in another
    precision (a table, a quotient of integers) are converted immediately.

    Args:
        dtype: float64 or float32.
        replaces_noise: whether random operators return their mean in every entry.
    """

    replaces_calls = True
    supports_higher_order_operators = True

    def __init__(self, dtype: torch.dtype, *, replaces_noise: bool = False) -> None:
        """Set the precision."""
        super().__init__()
        self.dtype = dtype
        self.is_random = False
        self._replaces_noise = replaces_noise
        self._literals = _Literals(dtype)
        self.dtypes = dict.fromkeys(FLOATING, dtype) | dict.fromkeys(COMPLEX, COMPLEX_OF[dtype])

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Allow higher-order operators to compile while this mode is active."""
        return True

    def __enter__(self) -> Any:
        """Start the conversion, including literals."""
        self._literals.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        """Stop the conversion."""
        super().__exit__(*exception)
        self._literals.__exit__(*exception)

    def convert(self, value: Any) -> Any:
        """Return a pytree with all its floating and complex tensors in this precision."""
        if isinstance(value, Tensor):
            return self._convert(value)
        return tree_map_only(Tensor, self._convert, value)

    def _convert(self, value: Any) -> Any:
        """Convert operator arguments or results: tensors, dtypes and sequences of them."""
        if isinstance(value, Tensor):
            dtype = self.dtypes.get(value.dtype, value.dtype)
            return value if value.dtype is dtype else value.to(dtype)
        if isinstance(value, list | tuple):
            return type(value)(map(self._convert, value))
        return self.dtypes.get(value, value) if isinstance(value, torch.dtype) else value

    def prepare(self, func: Any, given: dict[str, Any]) -> None:
        """Inspect an operator and its converted arguments, by name, before it runs."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator on arguments of this precision and return results in it."""
        if isinstance(func, HigherOrderOperator):  # its inner calls bypass this mode
            return tree_map(self._convert, func(*self.convert(args), **self.convert(kwargs or {})))
        names, written = _arguments_of(func)
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        for name, value in given.items():
            if name not in written:
                given[name] = self._convert(value)
        if func in SOFTMAXES:
            given["half_to_float"] = False
        self.prepare(func, given)
        positional = tuple(given.pop(name) for name in names[: len(args)])
        result = KERNELS.get(func, func)(*positional, **given)
        if is_random(func):
            self.is_random = True
            result = without_noise(func, result, args) if self._replaces_noise else result
        return result if written else self._convert(result)


class PlainPrecision:
    """Converts the inputs and tensors of a model to one precision; the model's casts apply.

    Used for models that `OnePrecision` does not support, such as those with higher-order
    operators.

    Args:
        dtype: floating precision.
    """

    replaces_calls = False
    is_random = False

    def __init__(self, dtype: torch.dtype) -> None:
        """Set the precision."""
        self.dtype = dtype
        self._dtypes = dict.fromkeys(FLOATING, dtype)
        self._dtypes |= dict.fromkeys(COMPLEX, COMPLEX_OF.get(dtype, torch.complex64))

    def __enter__(self) -> PlainPrecision:
        """Do nothing."""
        return self

    def __exit__(self, *exception: Any) -> None:
        """Do nothing."""

    def convert(self, value: Any) -> Any:
        """Return a pytree with all its floating and complex tensors in this precision."""
        return tree_map_only(Tensor, lambda x: x.to(self._dtypes.get(x.dtype, x.dtype)), value)


class _Literals(TorchFunctionMode):
    """Converts Python numbers to this precision, because a lower one could overflow.

    A mask may use the smallest number of the scores' dtype, which is float64 here. The
    default precision cannot represent it, and that is a global setting.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in FACTORIES and any(isinstance(leaf, float) for leaf in tree_leaves(args)):
            dtype = kwargs.get("dtype")
            if dtype is None or dtype in FLOATING:
                kwargs["dtype"] = self._dtype
        return func(*args, **kwargs)


@cache
def _arguments_of(func: Any) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the names of all arguments of an operator, and of those that it writes into."""
    arguments = func._schema.arguments
    written = [x.name for x in arguments if x.alias_info is not None and x.alias_info.is_write]
    return tuple(x.name for x in arguments), frozenset(written)
