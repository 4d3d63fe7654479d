"""Testing on the way: loss and error of stacked networks on the test set."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from onebasin.forward.batches import output_of
from onebasin.training.engines.loss import score_of
from onebasin.training.stacks import Stack

BATCH_SIZE = 1000


class TestSet:
    """The test set, and a copy of the network to run on it.

    Args:
        network: the architecture; it is run in evaluation mode.
        inputs: `(m, ...)`.
        labels: `(m,)`.
    """

    __test__ = False  # pytest takes classes of this name for tests

    def __init__(self, network: nn.Module, inputs: Tensor, labels: Tensor) -> None:
        self._network = network.eval()
        self._inputs = inputs
        self._labels = labels

    def measure(self, stack: Stack) -> list[tuple[float, float]]:
        """Return the mean cross-entropy and the share of errors of each network."""
        tensors = stack.tensors()
        return [
            self._measure_one({name: tensor[row] for name, tensor in tensors.items()})
            for row in range(len(stack))
        ]

    def _measure_one(self, tensors: dict[str, Tensor]) -> tuple[float, float]:
        loss = torch.zeros((), dtype=torch.float64, device=self._inputs.device)
        wrong = torch.zeros((), dtype=torch.int64, device=self._inputs.device)
        batches = zip(self._inputs.split(BATCH_SIZE), self._labels.split(BATCH_SIZE), strict=True)
        with torch.no_grad():
            for inputs, labels in batches:
                outputs = output_of(functional_call(self._network, tensors, (inputs,)))
                score = score_of(outputs.t().unsqueeze(0), labels.unsqueeze(0))
                loss += score.loss[0]
                wrong += score.wrong[0]
        return float(loss) / len(self._labels), int(wrong) / len(self._labels)
