"""Check of the data: resetting statistics on suitable data barely changes a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.evaluation.output_distances import DistanceSums, Spread, output_rows
from onebasin.evaluation.statistics import fresh_statistics
from onebasin.graph.batches import inputs_of, is_empty, output_of, rereadable, run_model
from onebasin.graph.binding import FunctionalModel
from onebasin.graph.normalization import layers_with_statistics

CALL = "reset_difference"
LARGE_DIFFERENCE = 0.5
"""A larger difference means that the data differ from the training data."""


@torch.no_grad()
def reset_difference(
    model: nn.Module, params: Mapping[str, Tensor], data: Iterable[Any]
) -> float | None:
    r"""Return how much the outputs of a network change when its statistics are reset on data.

    The difference of outputs \(y\) (as trained) and \(y'\) (after the reset) is
    \(\|y' - y\| / \|y - \bar y\|\) over all examples, or tokens. \(\bar y\) is the mean output.
    It is 0 for equal outputs and about 1 or more for unrelated ones. It is small on data with the
    normalization of the training.

    Args:
        model: the architecture; not changed.
        params: parameters and buffers of the network.
        data: batches of inputs, with or without labels; read twice.

    Returns:
        The difference; None for a network without running statistics.

    Raises:
        OneBasinError: the data can be read only once, the model fails on a batch, or the width of
            its outputs changes between batches.
    """
    if not layers_with_statistics(model):
        return None
    batches = rereadable(data, CALL)
    before = FunctionalModel(model, params)
    after = FunctionalModel(model, fresh_statistics(model, params, batches, call=CALL))
    sums, spread = DistanceSums(), Spread(CALL)
    for batch in batches:
        if not is_empty(batch):
            inputs = inputs_of(batch)
            old, new = (output_rows(output_of(run_model(each, inputs))) for each in (before, after))
            spread.add(old)
            sums.add(new, old)
    return sums.result(spread).distance
