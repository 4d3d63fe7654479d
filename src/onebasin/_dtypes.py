"""Dtypes of arithmetic: promotion for every dtype of a checkpoint, and rounding back.

PyTorch has no promotion rules and few operators for the 8-bit floating dtypes.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from onebasin.errors import ArgumentError

HALF_IS_ENOUGH = (
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
)
"""8-bit dtypes whose values float16 and bfloat16 hold exactly."""


def common_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """Return the smallest dtype with arithmetic that holds values of all dtypes.

    Args:
        dtypes: one or more dtypes.

    Example:
        >>> common_dtype(torch.float8_e4m3fn, torch.float16), common_dtype(torch.float8_e4m3fn)
        (torch.float16, torch.float32)
    """
    assert dtypes, "no dtypes to promote"
    others = [dtype for dtype in dtypes if dtype not in HALF_IS_ENOUGH]
    if not any(map(is_inexact, others)):
        others += [torch.float32] * (len(others) < len(dtypes))
    # The remaining 8-bit dtype, float8_e8m0fnu, has the range of float32.
    wide = [torch.float32 if _is_tiny(dtype) else dtype for dtype in others]
    return reduce(torch.promote_types, wide)


def compute_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """Return the dtype in which values of all dtypes are averaged and compared.

    It is at least float32, and complex if one of them is.

    Example:
        >>> compute_dtype(torch.float16), compute_dtype(torch.bfloat16, torch.float64)
        (torch.float32, torch.float64)
    """
    return common_dtype(torch.float32, *dtypes)


def is_inexact(dtype: torch.dtype) -> bool:
    """Return whether a dtype is floating-point or complex."""
    return dtype.is_floating_point or dtype.is_complex


def all_finite(tensor: Tensor) -> bool:
    """Return whether a tensor of any dtype has neither NaN nor infinite entries."""
    if not is_inexact(tensor.dtype):
        return True
    wide = tensor.detach().float() if _is_tiny(tensor.dtype) else tensor.detach()
    return bool(torch.isfinite(wide).all())


def round_to(place: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a result rounded to the nearest values of its stored dtype.

    Args:
        place: the tensor, for the message.
        value: the result in `compute_dtype`.
        dtype: dtype of a checkpoint.

    Raises:
        OneBasinError: a finite entry is too large for the dtype, and would become infinite or the
            largest number of the dtype.
    """
    if value.dtype == dtype or not (is_inexact(dtype) and value.numel()):
        return value.to(dtype)
    limit = torch.finfo(dtype)
    # Half a step above the largest number still rounds to it.
    largest = limit.max * (1 + limit.eps / 4)
    size = _parts(value.detach()).abs()
    excess = (size > largest) & torch.isfinite(size)
    if bool(excess.any()):
        raise ArgumentError(
            f"{place} has values up to {float(size[excess].max()):.4g}, too large for "
            f"{dtype_name(dtype)} (at most {limit.max:.4g}); convert the first checkpoint to "
            f"{dtype_name(_wider(dtype))}"
        )
    return value.to(dtype)


def _parts(value: Tensor) -> Tensor:
    """Return a real tensor, or the real and imaginary parts of a complex one."""
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype: `float32`, not `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def _wider(dtype: torch.dtype) -> torch.dtype:
    """Return a dtype of the same kind with a larger range."""
    if dtype.is_complex:
        return torch.complex64 if dtype.itemsize < 8 else torch.complex128
    return torch.float32 if dtype.itemsize < 4 else torch.float64


def _is_tiny(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point and dtype.itemsize == 1
