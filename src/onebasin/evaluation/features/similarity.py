"""Similarity: how alike the features of two networks are, as sets and unit by unit."""

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
from onebasin.evaluation.features.survey import (
    Batch,
    Measure,
    Progress,
    Survey,
    run_measure,
)
from onebasin.evaluation.features.table import FeatureRow, FeatureTable
from onebasin.symmetry.layouts import Units, leaves

MAX_FEATURES = 1024
WHOLE, IN_BATCHES, CORRELATION = "cka", "cka in batches", "correlation"


@dataclass(frozen=True)
class Similarity(FeatureTable):
    """Similarity of two networks' layers; made by `measure_similarity`.

    Its measures are `cka` or, at layers with many features, `cka in batches`, and
    `correlation`.
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
    r"""Measure how similar the features of two networks are, layer by layer.

    - `cka`: linear CKA (Kornblith et al. 2019) over all examples. It is the same for any
      order, indeed any rotation, of the units.
    - `cka in batches`: the same of the batches' mean HSIC without bias (Nguyen et al. 2021),
      where a layer has more than `max_features` features.
    - `correlation`: of every unit of A with the unit of B at the same place, over examples
      and positions; mean and sd are over the units. It is what an alignment raises. Units of
      which A's or B's is constant are left out. Where nothing can move (the outputs) every
      entry is a unit.

    Args:
        model: any module that `torch.export` can take; not changed.
        params_a: parameters and buffers of A.
        params_b: those of B.
        data: batches `(inputs, labels)` or inputs alone.
        hsic: "unbiased" leaves an example's similarity with itself out, "biased" is HSIC as
            it is defined, which few examples drive towards 1.
        max_features: up to how many features of an example CKA is over all examples; takes
            three matrices of that size, in float64, for every layer.
        layers: patterns for names of layers; None for the usual ones (see `find_layers`).
        progress: called with the number of batches done.

    Raises:
        OneBasinError: when parameters, data or patterns do not fit.
    """
    max_features = check_whole("similarity", "max_features", max_features, least=1)
    measure = SimilarityMeasure(hsic, max_features)
    ends = params_a, params_b
    run_measure(measure, model, ends, data, call="similarity", layers=layers, progress=progress)
    return measure.result()


class SimilarityMeasure(Measure):
    """What `measure_similarity` adds up, for a survey of several measures.

    Args:
        hsic: as for `measure_similarity`.
        max_features: as for `measure_similarity`.
    """

    def __init__(self, hsic: HSIC = "unbiased", max_features: int = MAX_FEATURES) -> None:
        """Check the choice."""
        check_choice("similarity", "hsic", hsic, HSIC)
        self.hsic: HSIC = hsic
        self.max_features = max_features

    def begin(self, survey: Survey) -> None:
        """Start without examples."""
        self.cka: dict[str, CKA] = {}
        self.correlations: dict[str, Correlation] = {}

    def visit(self, batch: Batch, layer: Layer, values: Sequence[Tensor]) -> None:
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
        """Return what was measured."""
        records = []
        for layer, cka in self.cka.items():
            measure = WHOLE if isinstance(cka, WholeCKA) else IN_BATCHES
            records.append(FeatureRow(layer, None, measure, cka.value(), nan, cka.num))
            found = self.correlations[layer].values()
            units = Moments()
            units.add(found)
            records.append(FeatureRow(layer, None, CORRELATION, units.mean, units.sd, units.num))
        return Similarity(tuple(records))


class Correlation:
    """Pearson's correlation of pairs of units, from sums."""

    def __init__(self) -> None:
        """Start without samples."""
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
        # What rounding leaves of the variance of a constant unit.
        varies = (var_x > 1e-12 * xx) & (var_y > 1e-12 * yy)
        return (covariance / (var_x * var_y).sqrt())[varies]


def _by_unit(batch: Batch, layer: Layer, value: Tensor) -> Float[Tensor, "n u"]:
    """Return samples of a value's units, which are as the layouts of the graph say."""
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
