"""Linear CKA: similarity of two sets of features, invariant to rotations of the units.

HSIC is estimated with or without bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import Literal, Protocol

import torch
from jaxtyping import Float, Float64
from torch import Tensor

HSIC = Literal["biased", "unbiased"]


class CKA(Protocol):
    """Accumulated sums of linear CKA."""

    num: int

    def add(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n e"]) -> None:
        """Add the features of a batch's examples."""
        ...

    def value(self) -> float:
        """Return linear CKA; NaN if undefined."""
        ...


class WholeCKA:
    r"""Linear CKA over all examples together, from moments of the features.

    With the linear kernel, \(\mathrm{HSIC}(X, Y) \propto \|X^\top Y\|_F^2\) for centered features
    (Kornblith et al. 2019, Eq. 3). The unbiased estimate (Song et al. 2012, Eq. 5) leaves out the
    similarity of an example with itself, and also follows from moments. Stores three matrices of
    `(d, d)`, independent of the number of examples.

    Args:
        hsic: "biased" (the definition) or "unbiased".
    """

    def __init__(self, hsic: HSIC = "unbiased") -> None:
        """Initialize without examples."""
        self.hsic, self.num = hsic, 0
        self._shifts: tuple[Tensor, Tensor] | None = None
        self._sums: dict[str, _Moments] = {}

    def add(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n e"]) -> None:
        """Add the features of a batch's examples."""
        if self._shifts is None:
            # Nearly centered, which avoids cancellation; CKA does not change.
            self._shifts = x.double().mean(0), y.double().mean(0)
        x, y = (each.double() - mean for each, mean in zip((x, y), self._shifts, strict=True))
        for key, left, right in (("xy", x, y), ("xx", x, x), ("yy", y, y)):
            moments = _Moments.of(left, right)
            self._sums[key] = moments + self._sums[key] if key in self._sums else moments
        self.num += len(x)

    def value(self) -> float:
        """Return linear CKA; NaN without variance, or with fewer than 4 examples (unbiased)."""
        if self.num < (4 if self.hsic == "unbiased" else 2):
            return nan
        unbiased = self.hsic == "unbiased"
        xy, xx, yy = (
            self._sums[key].unbiased(self.num) if unbiased else self._sums[key].biased(self.num)
            for key in ("xy", "xx", "yy")
        )
        return xy / sqrt(xx * yy) if xx > 0 and yy > 0 else nan


@dataclass(frozen=True)
class _Moments:
    """Sums over examples of two features x and y, with a = ‖x‖² and b = ‖y‖²."""

    product: Float64[Tensor, "d e"]
    x: Float64[Tensor, " d"]
    y: Float64[Tensor, " e"]
    x_by_b: Float64[Tensor, " d"]
    y_by_a: Float64[Tensor, " e"]
    a: Float64[Tensor, ""]
    b: Float64[Tensor, ""]
    a_by_b: Float64[Tensor, ""]

    @classmethod
    def of(cls, x: Float64[Tensor, "n d"], y: Float64[Tensor, "n e"]) -> _Moments:
        a, b = x.square().sum(1), y.square().sum(1)
        return cls(x.T @ y, x.sum(0), y.sum(0), b @ x, a @ y, a.sum(), b.sum(), a @ b)

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))  # noqa: B905

    def biased(self, num: int) -> float:
        return float((self.product - torch.outer(self.x, self.y) / num).square().sum())

    def unbiased(self, num: int) -> float:
        trace = self.product.square().sum() - self.a_by_b
        sums = (self.x @ self.x - self.a) * (self.y @ self.y - self.b)
        rows = self.x @ self.product @ self.y - self.x @ self.x_by_b - self.y @ self.y_by_a
        rows = rows + self.a_by_b
        return float(trace + sums / ((num - 1) * (num - 2)) - 2 * rows / (num - 2))


class BatchCKA:
    """Linear CKA from the mean unbiased HSIC of the batches (Nguyen et al. 2021, Eq. 3).

    For layers with too many features for `WholeCKA`; stores three numbers. Batches of fewer than
    four examples are ignored.
    """

    def __init__(self) -> None:
        """Initialize without examples."""
        self.num = 0
        self._sums = torch.zeros(3, dtype=torch.float64)

    def add(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n e"]) -> None:
        """Add the features of a batch's examples."""
        if len(x) < 4:
            return
        k, l = (_kernel(each) for each in (x, y))  # noqa: E741
        values = [unbiased_hsic(*pair) for pair in ((k, l), (k, k), (l, l))]
        self._sums += torch.stack(values).cpu()
        self.num += len(x)

    def value(self) -> float:
        """Return linear CKA; NaN without a batch of four, or without variance."""
        xy, xx, yy = self._sums.tolist()
        return xy / sqrt(xx * yy) if xx > 0 and yy > 0 else nan


def _kernel(x: Float[Tensor, "n d"]) -> Float64[Tensor, "n n"]:
    centered = x - x.mean(0)
    return (centered @ centered.T).double().fill_diagonal_(0)


def unbiased_hsic(k: Float[Tensor, "n n"], l: Float[Tensor, "n n"]) -> Float[Tensor, ""]:  # noqa: E741
    """Return the unbiased estimate of HSIC (Song et al. 2012, Eq. 5).

    Args:
        k: kernel of one feature with a zero diagonal, for at least four examples.
        l: kernel of the other feature, in the same form.
    """
    num = len(k)
    sums = k.sum() * l.sum() / ((num - 1) * (num - 2))
    rows = 2 * (k.sum(0) @ l.sum(0)) / (num - 2)
    return ((k * l).sum() + sums - rows) / (num * (num - 3))
