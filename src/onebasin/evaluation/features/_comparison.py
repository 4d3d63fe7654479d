"""Distances between two features of the same examples."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from onebasin._dtypes import compute_dtype

COSINE, DISTANCE, PROJECTION = "1-cos", "distance", "projection"


def lerp(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    r"""Return \(\alpha a + (1-\alpha) b\), which is exactly `a` for equal entries."""
    dtype = compute_dtype(a.dtype, b.dtype)
    return torch.lerp(b.to(dtype), a.to(dtype), alpha)


def wide(value: Tensor) -> Tensor:
    """Return a value in float32 or better."""
    return value.to(compute_dtype(value.dtype))


def compare(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> dict[str, Float64[Tensor, " n"]]:
    r"""Compare two features, example by example.

    - `1-cos`: \(1 - \langle x, y\rangle / (\|x\| \|y\|)\), computed as half of the squared
      difference of the directions, which is exact for equal ones. It is 1 if one of the two is 0,
      and 0 if both are.
    - `distance`: \(\|x-y\|^2 / (\|x\| \|y\|)\); 0 if both are 0, and NaN if one is.
    - `projection`: \(\langle x, y\rangle / \|y\|^2\); 1 if both are 0, and NaN if only `y` is.

    Args:
        x: features.
        y: reference features.

    Returns:
        The three measures.
    """
    x, y = wide(x), wide(y)
    norm_x, norm_y = (torch.linalg.vector_norm(each, dim=1, keepdim=True) for each in (x, y))
    squared_chord = (_direction(x, norm_x) - _direction(y, norm_y)).square().sum(1).double() / 2
    length_x, length_y = norm_x[:, 0].double(), norm_y[:, 0].double()
    difference = x - y
    inside = _direction(difference, norm_y).mul_(_direction(y, norm_y)).sum(1).double()
    squares = torch.linalg.vector_norm(difference, dim=1).double().square()
    one, both = (length_x == 0) ^ (length_y == 0), (length_x == 0) & (length_y == 0)
    return {
        COSINE: squared_chord.masked_fill(one, 1.0),
        DISTANCE: (squares / (length_x * length_y))
        .masked_fill(both, 0)
        .masked_fill(one, torch.nan),
        PROJECTION: (1 + inside).masked_fill(one & (length_y == 0), torch.nan),
    }


def _direction(value: Float[Tensor, "n d"], norm: Float[Tensor, "n 1"]) -> Float[Tensor, "n d"]:
    return value / norm.masked_fill(norm == 0, 1)
