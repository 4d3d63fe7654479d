"""Training of the gains and biases of a merged network, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from onebasin._dtypes import all_finite, compute_dtype, is_inexact, round_to
from onebasin.errors import ArgumentError
from onebasin.evaluation._paths import normalize_weights
from onebasin.evaluation._refit.held_out import Share
from onebasin.evaluation._refit.pieces import in_pieces
from onebasin.evaluation._refit.targets import mean_of_values
from onebasin.graph._normalization import layers_with_statistics, statistics_of
from onebasin.graph.batches import Batches, inputs_of, is_empty, output_of, run_model
from onebasin.graph.binding import FunctionalModel, evaluation_mode, promote

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

    These are all parameters with one dimension. BatchNorm layers use the statistics of each batch,
    and their running statistics are updated. Everything else stays. Adam with a cosine schedule
    minimizes the mean squared distance from the mean outputs of the sources. One of five batches
    is held out, and the epoch that is best on them is kept.

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
    merged = _Trained(model, params, names)
    fractions = normalize_weights(weights, len(sources))
    networks = [FunctionalModel(source_model or model, each) for each in sources]
    distance = _Distance(networks, fractions)
    optimizer = torch.optim.Adam(merged.trained.values(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    best, kept = distance.mean(merged, held_out), dict(params)
    for _ in range(EPOCHS):
        merged.uses_batch_statistics = True
        for batch in fitted:
            if not is_empty(batch):
                optimizer.zero_grad()
                with torch.enable_grad():
                    distance.of(merged, inputs_of(batch)).backward()
                optimizer.step()
        schedule.step()
        merged.uses_batch_statistics = False
        error = distance.mean(merged, held_out)
        changed = merged.stored(params) if error < best else None
        if changed is not None:
            best, kept = error, {**params, **changed}
    return kept


class _Trained(FunctionalModel):
    """A merged network whose gains and biases are trained.

    Args:
        model: the architecture.
        params: parameters and buffers; not changed.
        names: the parameters to train.

    Attributes:
        trained: the parameters by name, in float32 or better.
        uses_batch_statistics: whether BatchNorm layers use the statistics of the batch and update
            their running statistics.
    """

    def __init__(
        self, model: nn.Module, params: Mapping[str, Tensor], names: Sequence[str]
    ) -> None:
        """Copy the tensors that training changes."""
        norms = layers_with_statistics(model)
        own = {name: params[name].detach() for name in statistics_of(norms) if name in params}
        statistics = {name: each.clone() for name, each in own.items() if is_inexact(each.dtype)}
        trained = {
            name: params[name].detach().to(compute_dtype(params[name].dtype), copy=True)
            for name in names
        }
        for each in trained.values():
            each.requires_grad_()
        super().__init__(model, {**params, **statistics, **trained})
        self.trained, self._statistics, self._norms = trained, statistics, list(norms.values())
        self.uses_batch_statistics = False

    def stored(self, params: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return the changed tensors in the dtypes of a network; None if one is not finite."""
        changed = {**self.trained, **self._statistics}
        if not all(map(all_finite, changed.values())):
            return None
        return {
            name: round_to(f"tensor {name!r}", each.detach().clone(), params[name].dtype)
            for name, each in changed.items()
        }

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the model."""
        model, params, precision = self._bound()
        args, kwargs = promote((args, kwargs), precision)
        with evaluation_mode(model):
            for norm in self._norms:
                norm.training = self.uses_batch_statistics
            return functional_call(model, params, args, kwargs)


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
