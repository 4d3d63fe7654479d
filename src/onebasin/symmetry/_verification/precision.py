"""One precision everywhere: a model's own casts to another one are not granted.

Owns the dispatch mode under which a forward pass runs in one floating precision from end
to end, and the conversion of inputs to it.
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

from onebasin.symmetry._verification.grouped_products import grouped_product
from onebasin.symmetry._verification.noise import is_random, without_noise

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex32, torch.complex64, torch.complex128)
COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}
SOFTMAXES = (torch.ops.aten._softmax.default, torch.ops.aten._log_softmax.default)
# Operators that PyTorch has in low precision only.
KERNELS: Mapping[Any, Callable[..., Tensor]] = {torch.ops.aten._grouped_mm.default: grouped_product}
# Functions that make a tensor of the default precision from Python numbers.
FACTORIES = (torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.full)


class OnePrecision(TorchDispatchMode):
    """Runs every operator in one precision, whatever precision the model asks for.

    Attention and normalization layers often compute in float32 on purpose. With their
    rounding two equal functions differ by 1e-6, which hides a small true difference. Under
    this mode a cast to another precision is a cast to this one, and what an operator makes
    in another (a table, a quotient of integers) is converted at once.

    Args:
        dtype: float64 or float32.
        replaces_noise: whether random operators return their mean in every entry.
    """

    replaces_calls = True
    supports_higher_order_operators = True

    def __init__(self, dtype: torch.dtype, *, replaces_noise: bool = False) -> None:
        """Choose the precision."""
        super().__init__()
        self.dtype = dtype
        self.is_random = False
        self._replaces_noise = replaces_noise
        self._literals = _Literals(dtype)
        self.dtypes = dict.fromkeys(FLOATING, dtype) | dict.fromkeys(COMPLEX, COMPLEX_OF[dtype])

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Let higher-order operators compile while this mode is active."""
        return True

    def __enter__(self) -> Any:
        """Begin to convert, literals included."""
        self._literals.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        """Convert no more."""
        super().__exit__(*exception)
        self._literals.__exit__(*exception)

    def convert(self, value: Any) -> Any:
        """Return a pytree with all its floating and complex tensors in this precision."""
        if isinstance(value, Tensor):
            return self._convert(value)
        return tree_map_only(Tensor, self._convert, value)

    def _convert(self, value: Any) -> Any:
        """Convert what an operator takes or returns: tensors, dtypes and sequences of them."""
        if isinstance(value, Tensor):
            dtype = self.dtypes.get(value.dtype, value.dtype)
            return value if value.dtype is dtype else value.to(dtype)
        if isinstance(value, list | tuple):
            return type(value)(map(self._convert, value))
        return self.dtypes.get(value, value) if isinstance(value, torch.dtype) else value

    def prepare(self, func: Any, given: dict[str, Any]) -> None:
        """Look at an operator and its converted arguments, by name, before it runs."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator on arguments of this precision and return results in it."""
        if isinstance(func, HigherOrderOperator):  # what it calls runs outside of this mode
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
    """Gives a model inputs and tensors of one precision; its own casts are granted.

    For models that `OnePrecision` cannot run, such as those with higher-order operators.

    Args:
        dtype: floating precision.
    """

    replaces_calls = False
    is_random = False

    def __init__(self, dtype: torch.dtype) -> None:
        """Choose the precision."""
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
    """Gives Python numbers this precision, before a lower one overflows.

    A mask made with the smallest number of the scores' precision is one in float64, but the
    default precision, which is global and so not ours to change, cannot hold it.
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
    """Return an operator's arguments, and those it writes into: a copy would lose the result."""
    arguments = func._schema.arguments
    written = [x.name for x in arguments if x.alias_info is not None and x.alias_info.is_write]
    return tuple(x.name for x in arguments), frozenset(written)
