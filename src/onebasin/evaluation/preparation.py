"""Preparation: what is done to the parameters of points between networks before evaluating.

Owns what each normalization means: nothing, statistics reset from data, or units repaired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.paths import Shares
from onebasin.evaluation.points import Prepare
from onebasin.evaluation.repairing import Repairer
from onebasin.evaluation.statistics import fresh_statistics
from onebasin.graph.batches import rereadable
from onebasin.graph.normalization import layers_with_statistics


def preparation(
    call: str,
    model: nn.Module,
    normalization: LineNormalization,
    data: Iterable[Any] | None,
    *,
    argument: str = "data",
) -> tuple[Prepare | None, int]:
    """Return what is done to points, or None, and in how many layers.

    Args:
        call: who asks, for messages.
        model: the architecture.
        normalization: as for `interpolate`, checked.
        data: as for `interpolate`.
        argument: how the caller calls them, for messages.

    Raises:
        OneBasinError: when data is needed and there is none, it can be read only once, or the
            model has nothing that can be repaired.
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
    repairer = Repairer(model, batches, method=normalization, call=call)

    def repaired(
        params: Mapping[str, Tensor], networks: Sequence[Mapping[str, Tensor]], shares: Shares
    ) -> Mapping[str, Tensor]:
        inner = {i: share for i, share in shares.items() if share}
        ends = [networks[i] for i in inner]
        return repairer.run(params, ends, list(inner.values())).params

    return repaired, len(repairer.sites)
