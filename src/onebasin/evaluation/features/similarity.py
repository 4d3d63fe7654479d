"""Similarity of the features of two networks, as sets (CKA) and unit by unit (correlation)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_choice, check_whole
from onebasin.evaluation.features.cka import CKA, HSIC, BatchCKA, WholeCKA
from onebasin.evaluation.features.comparison import wide
from onebasin.evaluation.features.layers import Layer
from onebasin.evaluation.features.moments import Moments
from onebasin.evaluation.features.probe import (
    Batch,
    FeatureMetric,
    FeatureProbe,
    Progress,
    run_metric,
)
from onebasin.evaluation.features.table import FeatureRow, FeatureTable
from onebasin.symmetry.layouts import Units, leaves

MAX_FEATURES = 1024
WHOLE, IN_BATCHES, CORRELATION = "cka", "cka in batches", "correlation"


@dataclass(frozen=True)
class Similarity(FeatureTable):
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
        layers: patterns for names of layers; by default those of `find_layers`.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: parameters, data or patterns are invalid.
    """
    max_features = check_whole("similarity", "max_features", max_features, least=1)
    measure = SimilarityMetric(hsic, max_features)
    ends = params_a, params_b
    run_metric(measure, model, ends, data, call="similarity", layers=layers, progress=progress)
    return measure.result()


class SimilarityMetric(FeatureMetric):
    """Metric of `measure_similarity`.

    Args:
        hsic: as for `measure_similarity`.
        max_features: as for `measure_similarity`.
    """

    def __init__(self, hsic: HSIC = "unbiased", max_features: int = MAX_FEATURES) -> None:
        """Check the options."""
        check_choice("similarity", "hsic", hsic, HSIC)
        self.hsic: HSIC = hsic
        self.max_features = max_features

    def start(self, probe: FeatureProbe) -> None:
        """Initialize without examples."""
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
