"""Evaluation of many networks of one architecture in one batched pass over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from onebasin.evaluation._losses import Part, measure_batch_together
from onebasin.evaluation.evaluator import Evaluation, Evaluator, summed
from onebasin.graph.batches import arguments_of, inputs_of, labels_of, output_of
from onebasin.graph.binding import bind, evaluation_mode, input_dtype

# benchmarks/together.py measures the speedup: docs/benchmarks/together.md. It is largest for the
# smallest networks and vanishes above 2^14 entries. It grows with the number of networks until
# they no longer fit the cache.
LARGEST = 2**14
AT_ONCE = 2**18
FEWEST, MOST = 8, 32


def num_at_once(tensors: Sequence[Tensor]) -> int:
    """Return the best number of networks to evaluate together; 1 if it is not faster.

    It is faster for small networks without convolutions, which are dominated by operator overhead.

    Args:
        tensors: parameters and buffers of one network.
    """
    num_entries = sum(tensor.numel() for tensor in tensors)
    if num_entries > LARGEST or any(tensor.ndim > 2 for tensor in tensors):
        return 1
    return min(MOST, AT_ONCE // max(1, num_entries))


def evaluate_together(
    model: nn.Module, networks: Sequence[Mapping[str, Tensor]], evaluate: Evaluator
) -> list[Evaluation]:
    """Evaluate several networks in one pass over the data, as one batched program.

    Args:
        model: the architecture; run in evaluation mode and not changed.
        networks: parameters and buffers of each network.
        evaluate: the data and the loss.

    Returns:
        The result of `evaluate` for each network, up to rounding. All are run in the highest
        precision of the networks.

    Raises:
        OneBasinError: as for `evaluator` and `FunctionalModel`.
    """
    stacked = _stacked(model, networks)
    device = next((tensor.device for tensor in stacked.values()), torch.device("cpu"))
    precision = input_dtype(model, stacked)
    parts: list[list[Part]] = []

    def run(params: dict[str, Tensor], args: Any, kwargs: Any) -> Tensor:
        return output_of(functional_call(model, params, args, kwargs))

    together = vmap(run, in_dims=(0, None, None))
    with evaluation_mode(model), torch.no_grad():
        for number, batch in enumerate(evaluate.batches):
            labels = labels_of(batch, number, "evaluator")
            args, kwargs = arguments_of(inputs_of(batch), device, precision)
            outputs = together(stacked, args, kwargs)
            labels = labels.to(outputs.device)
            parts.append(measure_batch_together(outputs, labels, evaluate.loss))
    return [summed(each) for each in zip(*parts, strict=True)] if parts else [summed([])]


def _stacked(model: nn.Module, networks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    bound = [bind(model, network) for network in networks]
    return {name: torch.stack([each[name] for each in bound]) for name in bound[0]}
