"""LLFC: comparison of the features on the path with the mixed features of the endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.features._comparison import COSINE, PROJECTION, compare, lerp
from onebasin.evaluation.features._layers import Layer
from onebasin.evaluation.features._probe import (
    ALPHAS,
    Batch,
    FeatureMetric,
    Progress,
    run_metric,
)
from onebasin.evaluation.features.table import FeatureRow, LayerTable

ENDS = "1-cos ends"
COEFFICIENT = "c"


@dataclass(frozen=True)
class LLFC(LayerTable):
    """Layerwise linear feature connectivity, layer by layer; made by `measure_llfc`.

    Its measures are `1-cos`, `distance`, `projection` and `c` at every alpha, and `1-cos ends`.
    """

    @property
    def axis_label(self) -> str:
        """Label of the plotted values."""
        return "1 − cos"

    def series(self, alpha: float | None) -> dict[str, tuple[str, float | None]]:
        """Return the plotted measures: the path against the mix, and A against B."""
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
    + (1-\alpha) f^\ell(\theta_B)\), the features of an example at layer \(\ell\), LLFC means
    that \(c X = Y\). All networks run in lockstep, and the data are read once for all layers and
    alphas. Rows:

    - `1-cos`: \(1 - \cos(X, Y)\), over the examples; 0 if LLFC holds.
    - `1-cos ends`: \(1 - \cos(f^\ell(\theta_A), f^\ell(\theta_B))\), as a reference.
    - `projection`: \(\langle X, Y\rangle / \|Y\|^2\).
    - `c`: one over the mean projection. Its sd is that of the projection, propagated to first
      order. The mean of c over examples does not exist if a projection passes 0.
    - `distance`: \(\|X - Y\|^2 / (\|X\| \|Y\|)\), which also increases if c differs from 1.

    Zero features are treated as in `compare`.

    Args:
        model: any module that `torch.export` supports; not changed.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        data: batches `(inputs, labels)` or inputs.
        alphas: weights of A, between 0 and 1.
        layers: patterns for names of layers, such as "layers.*" or "*relu*". By default, the
            layers are the outputs of operators with parameters, of nonlinear functions, of sums
            of two streams, and of the model.
        normalization: "interpolated" interpolates the path's running statistics, "reset" recomputes
            them from `statistics`, "repair" and "rescale" set the statistics of all units of the
            path between those of the endpoints, "refit" recomputes the weights of the path (see
            `repair`). A and B keep their own, as in `interpolate`.
        statistics: batches for all except "interpolated", usually the training set.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: parameters, data, alphas or patterns are invalid.

    Example:
        >>> import torch
        >>> linear = nn.Sequential(nn.Linear(2, 3, bias=False))
        >>> a, b = {"0.weight": torch.ones(3, 2)}, {"0.weight": torch.eye(3)[:, :2]}
        >>> measure_llfc(linear, a, b, [torch.eye(2)]).at("0.linear", "c", 0.5).mean
        1.0
    """
    measure = LLFCMetric()
    run_metric(
        measure,
        model,
        (params_a, params_b),
        data,
        alphas=alphas,
        layers=layers,
        normalization=normalization,
        statistics=statistics,
        progress=progress,
    )
    return measure.result()


class LLFCMetric(FeatureMetric):
    """Metric of `measure_llfc`."""

    def forward(self, batch: Batch, layer: Layer, values: Sequence[Tensor]) -> None:
        """Compare every point of the path with the mix of the endpoints."""
        a, b, *points = (batch.by_example(layer.node, value) for value in values)
        for alpha, x in zip(self.probe.path.alphas, points, strict=True):
            for measure, examples in compare(x, lerp(a, b, alpha)).items():
                self.sums.add((layer.name, alpha, measure), examples)
        self.sums.add((layer.name, None, ENDS), compare(a, b)[COSINE])

    def result(self) -> LLFC:
        """Return the result."""
        names = [layer.name for layer in self.probe.layers]
        records = [
            each for record in self.sums.records(names) for each in (record, *_coefficient(record))
        ]
        return LLFC(tuple(records), self.probe.path.normalization)


def _coefficient(record: FeatureRow) -> list[FeatureRow]:
    if record.measure != PROJECTION:
        return []
    mean = 1 / record.mean if record.mean else nan
    sd = record.sd * mean**2
    return [FeatureRow(record.layer, record.alpha, COEFFICIENT, mean, sd, record.n)]
