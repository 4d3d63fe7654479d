"""Double precision everywhere: a model's own casts to lower precision are not granted.

Owns the dispatch mode under which a forward pass runs in float64 from end to end, and the
conversion of inputs to it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

DOUBLES = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}
SOFTMAXES = (torch.ops.aten._softmax.default, torch.ops.aten._log_softmax.default)


def to_double(value: Any) -> Any:
    """Return a pytree with its floating tensors in float64, its complex ones in complex128."""
    return tree_map_only(Tensor, _double, value)


def _double(tensor: Tensor) -> Tensor:
    return tensor.to(DOUBLES.get(tensor.dtype, tensor.dtype))


class DoublePrecision(TorchDispatchMode):
    """Runs every operator in float64, whatever precision the model asks for.

    Attention and normalisation layers often compute in float32 on purpose. With their
    rounding two equal functions differ by 1e-6, which hides a small true difference. Under
    this mode a cast to a lower precision is a cast to float64, and what an operator makes in
    a lower precision (a table, a quotient of integers) becomes float64 at once.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator on float64 arguments and return float64 results."""
        schema = func._schema
        written = [argument.name for argument in schema.arguments if _is_written(argument)]
        names = [argument.name for argument in schema.arguments]
        args = tuple(
            arg if name in written else tree_map(_raise, arg)
            for name, arg in zip(names, args, strict=False)
        )
        kwargs = {
            name: arg if name in written else tree_map(_raise, arg)
            for name, arg in (kwargs or {}).items()
        }
        if func in SOFTMAXES:
            args = (*args[:2], False)
        result = func(*args, **kwargs)
        return result if written else to_double(result)


def _raise(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return _double(leaf)
    return DOUBLES.get(leaf, leaf) if isinstance(leaf, torch.dtype) else leaf


def _is_written(argument: Any) -> bool:
    """Whether an operator writes into this argument: a copy of it would lose the result."""
    return argument.alias_info is not None and argument.alias_info.is_write
