"""The feature task: layer-wise measures of linear connectivity for a pair of networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.features import (
    FeatureTable,
    check_error_bound,
    measure_additivity,
    measure_commutativity,
    measure_llfc,
)
from onebasin.evaluation.statistics import reset_statistics
from onebasin_studies.runtime.task import Result, task
from onebasin_studies.tasks.specs import Spec, batches_of, data_of, network_of

MEASURES: Mapping[str, Callable[..., FeatureTable]] = MappingProxyType(
    {
        "llfc": measure_llfc,
        "additivity": measure_additivity,
        "commutativity": measure_commutativity,
        "lemma": check_error_bound,
    }
)
"""The measures by name."""

ON_PATH = frozenset({"llfc", "lemma"})
"""Measures that evaluate interpolated networks, which need a normalization."""

WITHOUT_ALPHA = frozenset({"commutativity"})
ALPHAS = (0.25, 0.5, 0.75)


@task(version=3)
def measure_features(
    *,
    data: Spec,
    network: Spec,
    a: Result,
    b: Result,
    measure: str,
    alphas: Sequence[float] = ALPHAS,
    split: str = "test",
    normalization: LineNormalization = "interpolated",
) -> Result:
    """Compute one measure at every layer of a pair of networks.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        a: network A.
        b: network B.
        measure: one of `MEASURES`.
        alphas: interpolation weights of A; not used by commutativity.
        split: "train" or "test".
        normalization: normalization of interpolated networks, from the training set. With "reset"
            the statistics of A and B are reset too, because features are comparable only with the
            same estimation.

    Returns:
        One row per layer, alpha and measure, in the order of the forward pass: layer, place (index
        of the layer), alpha, measure, mean, sd, n, normalization, split.

    Raises:
        OneBasinError: if the measure or the split is unknown.
    """
    if measure not in MEASURES:
        raise OneBasinError(
            f"measure_features: unknown measure {measure!r}; known are {', '.join(MEASURES)}"
        )
    dataset = data_of(data)
    examples, train = batches_of(dataset, split), batches_of(dataset)
    options: dict[str, Any] = {} if measure in WITHOUT_ALPHA else {"alphas": tuple(alphas)}
    if measure in ON_PATH:
        options["normalization"] = normalization
        options["statistics"] = None if normalization == "interpolated" else train
    module = network_of(network, dataset).eval()
    ends = [dict(end.tensors) for end in (a, b)]
    if normalization == "reset":
        ends = [reset_statistics(module, end, train) for end in ends]
    table = MEASURES[measure](
        module,
        *ends,
        examples,
        **options,
    )
    positions = {layer: place for place, layer in enumerate(table.layers)}
    also = {"normalization": normalization, "split": split}
    rows = table.to_json()["rows"]
    return Result([{"place": positions[row["layer"]], **row, **also} for row in rows])
