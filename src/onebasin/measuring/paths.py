"""Paths: the points between two networks in parameter space."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from onebasin.errors import OneBasinError


def point_between(
    params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    r"""Return the point \(\alpha\theta_A + (1-\alpha)\theta_B\).

    Floating tensors are interpolated in float32 or better and have the dtype of A; integer
    and boolean ones are A's. Where A and B agree the point is exactly theirs, and the ends
    are exactly A and B.

    Args:
        params_a: parameters and buffers of A.
        params_b: those of B, with the same names and shapes.
        alpha: share of A, in [0, 1].

    Returns:
        A new mapping with the names of A.

    Raises:
        OneBasinError: naming the first tensor that is missing or has another shape.
    """
    check_same_names(params_a, params_b)
    return {name: _between(name, params_a[name], params_b[name], alpha) for name in params_a}


def _between(name: str, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if a.shape != b.shape:
        raise OneBasinError(
            f"parameters: tensor {name!r} is {tuple(a.shape)} in params_a but {tuple(b.shape)} in "
            "params_b; both must be the same architecture"
        )
    if not (a.is_floating_point() or a.is_complex()):
        return a
    wide = torch.promote_types(a.dtype, torch.float32)
    return torch.lerp(b.detach().to(a.device, wide), a.detach().to(wide), alpha).to(a.dtype)


def same_point(params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor]) -> bool:
    """Tell whether all tensors of two networks are equal, reading no further than needed."""
    check_same_names(params_a, params_b)
    return all(_equal(params_a[name], params_b[name]) for name in params_a)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b.to(a.device))


def check_same_names(params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor]) -> None:
    """Check that two networks have the same tensor names.

    Raises:
        OneBasinError: naming the first tensor that only one of them has.
    """
    for name in (*params_a, *params_b):
        if (name in params_a) != (name in params_b):
            here, there = ("a", "b") if name in params_a else ("b", "a")
            raise OneBasinError(
                f"parameters: tensor {name!r} is in params_{here} but not in params_{there}; "
                "both must be the same architecture"
            )
