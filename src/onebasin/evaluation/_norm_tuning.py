"""Training of the gains and biases of a merged network, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin._dtypes import all_finite, round_to
from onebasin.errors import ArgumentError
from onebasin.evaluation._paths import normalize_weights
from onebasin.evaluation._refit.held_out import Share
from onebasin.evaluation._refit.pieces import in_pieces
from onebasin.evaluation._refit.targets import mean_of_values
from onebasin.graph.batches import Batches, inputs_of, is_empty, output_of, run_model
from onebasin.graph.binding import FunctionalModel

EPOCHS = 5
LEARNING_RATE = 1e-2
BATCH_SIZE = 100
"""Maximum number of examples of a step, if the data can be divided."""


def tune_norms(
    model: nn.Module,
    params: Mapping[str, Tensor],
    sources: Sequence[Mapping[str, Tensor]],
    data: Iterable[Any],
    *,
    weights: Sequence[int | float] | None = None,
    source_model: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Train the gains and biases of a merged network to reproduce the mean outputs.

    These are all parameters with one dimension. Everything else stays, running statistics included.
    Adam with a cosine schedule minimizes the mean squared distance from the mean outputs of the
    sources. One of five batches is held out, and the epoch that is best on them is kept.

    Args:
        model: the architecture; not changed.
        params: parameters and buffers of the merged network; not changed.
        sources: parameters and buffers of the aligned source networks.
        data: unlabeled batches in random order that can be read again.
        weights: weights of the sources; equal by default.
        source_model: architecture of the sources, if it has other sizes.

    Returns:
        The network; its outputs on the held-out batches are not further from the mean outputs.

    Raises:
        OneBasinError: the model has no such parameters, or there are too few batches.
    """
    vectors = (name for name, each in model.named_parameters() if each.dim() == 1)
    names = [name for name in vectors if name in params]
    if not names:
        raise ArgumentError("the model has no gains and biases to train; set tune_norms=False")
    if isinstance(data, Batches) and data.batch_size > BATCH_SIZE:
        data = Batches(data.inputs, data.labels, BATCH_SIZE, data.order)
    pieces = in_pieces(data, model)
    fitted, held_out = Share(pieces, is_held_out=False), Share(pieces, is_held_out=True)
    if next(iter(held_out), None) is None:
        raise ArgumentError("tune_norms=True needs five batches or 10 examples; pass more data")
    trained = {name: params[name].detach().float().clone().requires_grad_() for name in names}
    merged = FunctionalModel(model, {**params, **trained})
    fractions = normalize_weights(weights, len(sources))
    networks = [FunctionalModel(source_model or model, each) for each in sources]
    distance = _Distance(networks, fractions)
    optimizer = torch.optim.Adam(trained.values(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    best, kept = distance.mean(merged, held_out), _copies(trained)
    for _ in range(EPOCHS):
        for batch in fitted:
            if not is_empty(batch):
                optimizer.zero_grad()
                with torch.enable_grad():
                    distance.of(merged, inputs_of(batch)).backward()
                optimizer.step()
        schedule.step()
        error = distance.mean(merged, held_out)
        if error < best and all(map(all_finite, trained.values())):
            best, kept = error, _copies(trained)
    changed = {
        name: round_to(f"tensor {name!r}", v, params[name].dtype) for name, v in kept.items()
    }
    return {**params, **changed}


@dataclass(frozen=True)
class _Distance:
    """The distance of outputs from the mean outputs of the sources.

    Args:
        sources: the source networks.
        fractions: their weights.
    """

    sources: Sequence[nn.Module]
    fractions: Sequence[float]

    def of(self, network: nn.Module, inputs: Any) -> Tensor:
        """Return the distance on a batch."""
        with torch.no_grad():
            outputs = [output_of(run_model(source, inputs)) for source in self.sources]
            mean = mean_of_values(outputs, self.fractions)
        return F.mse_loss(output_of(run_model(network, inputs)), mean)

    @torch.no_grad()
    def mean(self, network: nn.Module, data: Iterable[Any]) -> float:
        """Return the mean distance over batches."""
        found = [float(self.of(network, inputs_of(each))) for each in data if not is_empty(each)]
        return sum(found) / len(found)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in tensors.items()}
