"""Similarity of the features of two networks: linear CKA and unit-wise correlation.

HSIC is estimated with or without bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_choice, check_whole
from onebasin.evaluation.features._comparison import wide
from onebasin.evaluation.features._layers import Layer
from onebasin.evaluation.features._moments import Moments
from onebasin.evaluation.features._probe import (
    Batch,
    FeatureMetric,
    FeatureProbe,
    Progress,
    run_metric,
)
from onebasin.evaluation.features.table import FeatureRow, LayerTable
from onebasin.symmetry.layouts import Units, leaves

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


MAX_FEATURES = 1024
WHOLE, IN_BATCHES, CORRELATION = "cka", "cka in batches", "correlation"


@dataclass(frozen=True)
class Similarity(LayerTable):
    """Similarity of two networks' layers; see `measure_similarity`.

    Its measures are `cka` or, for layers with many features, `cka in batches`, and `correlation`.
    """


@checks_arguments
def measure_similarity(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    hsic: HSIC = "unbiased",
    max_features: int = MAX_FEATURES,
    layers: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Similarity:
    """Measure the similarity of the features of two networks, layer by layer.

    - `cka`: linear CKA (Kornblith et al. 2019) over all examples. It is invariant to the order
      and to rotations of the units.
    - `cka in batches`: linear CKA from the mean unbiased HSIC of the batches (Nguyen et al. 2021),
      for a layer with more than `max_features` features.
    - `correlation`: correlation of every unit of A with the unit of B at the same index, over
      examples and positions. Mean and sd are over the units. Alignment increases it. Constant units
      are left out. In layers without permutable units, such as outputs, every entry is a unit.

    Args:
        model: any module that `torch.export` supports; not changed.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        data: batches `(inputs, labels)` or inputs.
        hsic: "unbiased" leaves out the similarity of an example with itself. "biased" is the
            definition of HSIC, for which few examples bias CKA towards 1.
        max_features: maximum number of features for CKA over all examples. It takes three float64
            matrices of that size for every layer.
        layers: as for `measure_llfc`.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: parameters, data or patterns are invalid.
    """
    max_features = check_whole("max_features", max_features, least=1)
    measure = SimilarityMetric(hsic, max_features)
    ends = params_a, params_b
    run_metric(measure, model, ends, data, layers=layers, progress=progress)
    return measure.result()


class SimilarityMetric(FeatureMetric):
    """Metric of `measure_similarity`.

    Args:
        hsic: as for `measure_similarity`.
        max_features: as for `measure_similarity`.
    """

    def __init__(self, hsic: HSIC = "unbiased", max_features: int = MAX_FEATURES) -> None:
        """Check the options."""
        check_choice("hsic", hsic, HSIC)
        self.hsic: HSIC = hsic
        self.max_features = max_features

    def start(self, probe: FeatureProbe) -> None:
        """Initialize without examples."""
        super().start(probe)
        self.cka: dict[str, CKA] = {}
        self.correlations: dict[str, Correlation] = {}

    def forward(self, batch: Batch, layer: Layer, values: Sequence[Tensor]) -> None:
        """Add a layer's features of A and of B."""
        a, b = values[:2]
        x, y = (wide(batch.by_example(layer.node, value)) for value in (a, b))
        if layer.name not in self.cka:
            is_small = x.shape[1] <= self.max_features
            self.cka[layer.name] = WholeCKA(self.hsic) if is_small else BatchCKA()
            self.correlations[layer.name] = Correlation()
        self.cka[layer.name].add(x, y)
        self.correlations[layer.name].add(*(_by_unit(batch, layer, value) for value in (a, b)))

    def result(self) -> Similarity:
        """Return the result."""
        records = []
        for layer, cka in self.cka.items():
            measure = WHOLE if isinstance(cka, WholeCKA) else IN_BATCHES
            records.append(FeatureRow(layer, None, measure, cka.value(), nan, cka.num))
            units = Moments()
            units.add(self.correlations[layer].values())
            records.append(FeatureRow(layer, None, CORRELATION, units.mean, units.sd, units.num))
        return Similarity(tuple(records))


class Correlation:
    """Pearson correlation of pairs of units, from sums."""

    def __init__(self) -> None:
        """Initialize without samples."""
        self.num = 0
        self._sums: Tensor | None = None
        self._shifts: tuple[Tensor, Tensor] | None = None

    def add(self, x: Float[Tensor, "n u"], y: Float[Tensor, "n u"]) -> None:
        """Add samples of the units of A and of B."""
        if self._shifts is None:
            self._shifts = x[0].double(), y[0].double()
        x, y = (each.double() - shift for each, shift in zip((x, y), self._shifts, strict=True))
        sums = torch.stack([part.sum(0) for part in (x, y, x * x, y * y, x * y)])
        self._sums = sums if self._sums is None else self._sums + sums
        self.num += len(x)

    def values(self) -> Float[Tensor, " u"]:
        """Return the correlations of the pairs in which both units vary."""
        if self._sums is None:
            return torch.zeros(0, dtype=torch.float64)
        x, y, xx, yy, xy = self._sums / self.num
        var_x, var_y, covariance = xx - x * x, yy - y * y, xy - x * y
        # The variance of a constant unit is a rounding error.
        varies = (var_x > 1e-12 * xx) & (var_y > 1e-12 * yy)
        return (covariance / (var_x * var_y).sqrt())[varies]


def _by_unit(batch: Batch, layer: Layer, value: Tensor) -> Float[Tensor, "n u"]:
    """Return samples of a value's units, according to the layouts of the graph."""
    layouts = batch.graph.features.layouts[layer.node]
    dims = [
        dim
        for dim, layout in enumerate(layouts)
        if dim != layer.axis.dim and any(isinstance(leaf, Units) for leaf in leaves(layout))
    ]
    if not dims:
        return wide(batch.by_example(layer.node, value))
    last = wide(value).movedim(dims, list(range(-len(dims), 0)))
    return last.flatten(0, -len(dims) - 1).flatten(1)
