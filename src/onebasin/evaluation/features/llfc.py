"""LLFC: whether the features of a network on the path are the mix of its ends' features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.features.comparison import COSINE, PROJECTION, compare, mixed
from onebasin.evaluation.features.layers import Layer
from onebasin.evaluation.features.moments import Sums
from onebasin.evaluation.features.survey import (
    ALPHAS,
    Batch,
    Measure,
    Progress,
    Survey,
    run_measure,
)
from onebasin.evaluation.features.table import FeatureRow, FeatureTable

ENDS = "1-cos ends"
COEFFICIENT = "c"


@dataclass(frozen=True)
class LLFC(FeatureTable):
    """Layerwise linear feature connectivity, layer by layer; made by `measure_llfc`.

    Its measures are `1-cos`, `distance`, `projection` and `c` at every alpha, and `1-cos ends`.
    """

    @property
    def axis_label(self) -> str:
        """What the values that `plot` draws are."""
        return "1 − cos"

    def series(self, alpha: float | None = None) -> dict[str, tuple[str, float | None]]:
        """Return what `plot` draws: how far the path is from the mix, and A from B."""
        return {f"1 − cos, α = {alpha:g}": (COSINE, alpha), "1 − cos of A and B": (ENDS, None)}


@checks_arguments
def measure_llfc(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    alphas: Sequence[float] = ALPHAS,
    layers: Sequence[str] | None = None,
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
    progress: Progress | None = None,
) -> LLFC:
    r"""Measure layerwise linear feature connectivity (Zhou et al. 2023, Definition 2).

    With \(X = f^\ell(\alpha\theta_A + (1-\alpha)\theta_B)\) and \(Y = \alpha f^\ell(\theta_A)
    + (1-\alpha) f^\ell(\theta_B)\), the features of an example at layer \(\ell\), LLFC says
    that \(c X = Y\). All networks run in step, and the data is read once for all layers and
    alphas. Rows:

    - `1-cos`: \(1 - \cos(X, Y)\), over the examples; 0 where LLFC holds.
    - `1-cos ends`: \(1 - \cos(f^\ell(\theta_A), f^\ell(\theta_B))\), what to compare it with.
    - `projection`: \(\langle X, Y\rangle / \|Y\|^2\).
    - `c`: one over the mean projection; its sd is that of the projection, carried over to
      first order. Over examples c has no mean where a projection passes 0.
    - `distance`: \(\|X - Y\|^2 / (\|X\| \|Y\|)\), which c other than 1 also raises.

    Examples of which a feature is 0 throughout count as in `compare`.

    Args:
        model: any module that `torch.export` can take; not changed.
        params_a: parameters and buffers of A.
        params_b: those of B.
        data: batches `(inputs, labels)` or inputs alone.
        alphas: shares of A, between 0 and 1.
        layers: patterns for names of layers, such as `layers.*`; None for the usual ones
            (see `find_layers`).
        normalization: "interpolated" takes the path's running statistics as they come,
            "reset" estimates them from `statistics`; "repair" and "rescale" bring all
            units of the path to the statistics between those of the ends (see `repair`). A and
            B keep their own, as in `interpolate`: LLFC is about the features of the networks as
            they were trained.
        statistics: batches for all but the first, usually those of the training set.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: when parameters, data, alphas or patterns do not fit.

    Example:
        >>> import torch
        >>> linear = nn.Sequential(nn.Linear(2, 3, bias=False))
        >>> a, b = {"0.weight": torch.ones(3, 2)}, {"0.weight": torch.eye(3)[:, :2]}
        >>> measure_llfc(linear, a, b, [torch.eye(2)]).at("0.linear", "c", 0.5).mean
        1.0
    """
    measure = LLFCMeasure()
    run_measure(
        measure,
        model,
        (params_a, params_b),
        data,
        call="llfc",
        alphas=alphas,
        layers=layers,
        normalization=normalization,
        statistics=statistics,
        progress=progress,
    )
    return measure.result()


class LLFCMeasure(Measure):
    """What `measure_llfc` adds up, for a survey of several measures."""

    def begin(self, survey: Survey) -> None:
        """Take the alphas and the layers."""
        self.path, self.names = survey.path, [layer.name for layer in survey.layers]
        self.sums = Sums()

    def visit(self, batch: Batch, layer: Layer, values: Sequence[Tensor]) -> None:
        """Compare every point of the path with the mix of the ends."""
        a, b, *points = (batch.by_example(layer.node, value) for value in values)
        for alpha, x in zip(self.path.alphas, points, strict=True):
            for measure, found in compare(x, mixed(a, b, alpha)).items():
                self.sums.add((layer.name, alpha, measure), found)
        self.sums.add((layer.name, None, ENDS), compare(a, b)[COSINE])

    def result(self) -> LLFC:
        """Return what was measured."""
        records = [
            each
            for record in self.sums.records(self.names)
            for each in (record, *_coefficient(record))
        ]
        return LLFC(tuple(records), self.path.normalization)


def _coefficient(record: FeatureRow) -> list[FeatureRow]:
    if record.measure != PROJECTION:
        return []
    mean = 1 / record.mean if record.mean else nan
    sd = record.sd * mean**2
    return [FeatureRow(record.layer, record.alpha, COEFFICIENT, mean, sd, record.n)]
