"""Together: many networks of one architecture evaluated in one pass over the data.

Owns the batched pass, and the decision where it is faster than one network after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from onebasin.evaluation.evaluation import Evaluation, Evaluator, summed
from onebasin.evaluation.losses import Part, measure_batch_together
from onebasin.graph.batches import arguments_of, inputs_of, labels_of, output_of
from onebasin.graph.binding import bind, evaluation_mode, input_dtype

# benchmarks/together.py measures what this gains: docs/benchmarks/together.md. It gains most where
# networks are smallest, and nothing above 2^14 entries. The more networks at once
# the better, until what they hold at once leaves the cache.
LARGEST = 2**14
AT_ONCE = 2**18
FEWEST, MOST = 8, 32


def num_at_once(tensors: Sequence[Tensor]) -> int:
    """Return how many networks of this kind are best evaluated together; 1 where it never pays.

    It does for small networks without convolutions, whose time goes into starting operators.

    Args:
        tensors: parameters and buffers of one of them.
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
        model: the architecture; it is run in evaluation mode and not changed.
        networks: parameters and buffers of each.
        evaluate: the data and the loss.

    Returns:
        For each network what `evaluate` gives for it alone, but for rounding. All are run in the
        precision of the most precise one.

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
