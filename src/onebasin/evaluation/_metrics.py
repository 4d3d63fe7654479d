"""Metrics of networks and of averages of their outputs, accumulated batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from onebasin.errors import ArgumentError
from onebasin.evaluation._losses import are_classes, check_classes, flat_classes
from onebasin.evaluation.calibration import Calibration, CalibrationBins
from onebasin.graph.batches import IGNORE_INDEX

Kind = Literal["member", "probabilities", "logits", "weights", "other"]


@dataclass(frozen=True)
class EnsembleEntry:
    """Metrics of one network or ensemble.

    Args:
        name: name of the entry.
        kind: "member"; "probabilities" or "logits" for the mean of the members' outputs;
            "weights" for the mean of their parameters; "other" for a further network.
        num_networks: number of networks that are run.
        loss: mean cross-entropy.
        error: fraction of wrong answers.
        calibration: accuracy for each confidence.
    """

    name: str
    kind: Kind
    num_networks: int
    loss: float
    error: float
    calibration: Calibration


def averages_of(
    logits: Float[Tensor, "k n c"],
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    """Return the log probabilities of both averages of the outputs of k members."""
    num = torch.tensor(len(logits), dtype=logits.dtype, device=logits.device)
    mixture = logits.log_softmax(-1).logsumexp(0) - num.log()
    return mixture, logits.mean(0).log_softmax(-1)


class MetricAccumulator:
    """Accumulated metrics of one entry.

    Args:
        name: name of the entry.
        kind: kind of the entry.
        num_networks: number of networks that are run.
        num_bins: number of bins of the calibration.
    """

    def __init__(self, name: str, kind: Kind, num_networks: int, num_bins: int) -> None:
        self.name, self.num_networks = name, num_networks
        self.kind: Kind = kind
        self.bins = CalibrationBins(num_bins)
        self.loss, self.wrong, self.num_examples = 0.0, 0, 0

    def add(self, log_probabilities: Float[Tensor, "n c"], classes: Int64[Tensor, " n"]) -> None:
        """Add the predictions on a batch."""
        chosen = log_probabilities.gather(1, classes.unsqueeze(1)).squeeze(1)
        self.loss -= float(chosen.double().sum())
        self.wrong += int((log_probabilities.argmax(1) != classes).sum())
        self.num_examples += len(classes)
        self.bins.add(log_probabilities.exp(), classes)

    def result(self) -> EnsembleEntry:
        """Return the metrics."""
        calibration = self.bins.result()
        loss, error = self.loss / self.num_examples, self.wrong / self.num_examples
        return EnsembleEntry(self.name, self.kind, self.num_networks, loss, error, calibration)


def accumulators_for(
    members: Sequence[str], others: Sequence[str], num_bins: int
) -> list[MetricAccumulator]:
    """Return an accumulator for each member, the averages, and each other network."""
    num = len(members)
    own = [MetricAccumulator(name, "member", 1, num_bins) for name in members]
    averages = [
        MetricAccumulator("probabilities", "probabilities", num, num_bins),
        MetricAccumulator("logits", "logits", num, num_bins),
        MetricAccumulator("weights", "weights", 1, num_bins),
    ]
    return [*own, *averages, *(MetricAccumulator(name, "other", 1, num_bins) for name in others)]


def classes_of(
    outputs: Sequence[Tensor], labels: Tensor
) -> tuple[Float[Tensor, "k n c"], Int64[Tensor, " n"]]:
    """Return the logits of k networks and the classes, without ignored examples.

    Raises:
        OneBasinError: labels are not classes of the outputs.
    """
    labels = labels.to(outputs[0].device)
    if not are_classes(outputs[0], labels):
        raise ArgumentError(
            f"outputs are {tuple(outputs[0].shape)} and labels "
            f"{tuple(labels.shape)} {labels.dtype}; expected (n, classes) and integers (n,)"
        )
    check_classes(labels, outputs[0].shape[-1])
    flat = [flat_classes(output, labels) for output in outputs]
    classes = flat[0][1]
    counted = classes != IGNORE_INDEX
    logits = torch.stack([logits[counted] for logits, _ in flat])
    return (logits if logits.dtype == torch.float64 else logits.float()), classes[counted]
