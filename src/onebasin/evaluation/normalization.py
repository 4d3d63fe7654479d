"""Normalization of points between networks: none, reset statistics, or repaired units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.paths import Weights
from onebasin.evaluation.points import Prepare
from onebasin.evaluation.repairing import ActivationRepair
from onebasin.evaluation.statistics import fresh_statistics
from onebasin.graph.batches import rereadable
from onebasin.graph.normalization import layers_with_statistics


def preparation_for(
    call: str,
    model: nn.Module,
    normalization: LineNormalization,
    data: Iterable[Any] | None,
    *,
    argument: str = "data",
) -> tuple[Prepare | None, int]:
    """Return the function applied to points, or None, and the number of affected layers.

    Args:
        call: name of the public function, for messages.
        model: the architecture.
        normalization: as for `interpolate`, checked.
        data: as for `interpolate`.
        argument: name of the data argument, for messages.

    Raises:
        OneBasinError: required data are missing or can be read only once, or the model has no
            layer that can be repaired.
    """
    if normalization == "interpolated":
        return None, 0
    if data is None:
        raise OneBasinError(
            f'{call}: normalization="{normalization}" estimates statistics from data; pass '
            f"{argument}=, usually the training batches"
        )
    batches = rereadable(data, call)
    if normalization == "reset":
        num_layers = len(layers_with_statistics(model))
        return lambda params, *_: fresh_statistics(model, params, batches, call=call), num_layers
    repairer = ActivationRepair(model, batches, method=normalization, call=call)

    def repaired(
        params: Mapping[str, Tensor], networks: Sequence[Mapping[str, Tensor]], weights: Weights
    ) -> Mapping[str, Tensor]:
        inner = {i: weight for i, weight in weights.items() if weight}
        ends = [networks[i] for i in inner]
        return repairer.run(params, ends, list(inner.values())).params

    return repaired, len(repairer.sites)
