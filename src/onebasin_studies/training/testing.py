"""Evaluation of stacked networks on the test set during training."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn
from torch.func import functional_call

from onebasin.data.examples import Examples
from onebasin.graph.batches import output_of
from onebasin_studies.training.engines.engine import score_of
from onebasin_studies.training.stacks import Stack

BATCH_SIZE = 1000


class TestSet:
    """The test set, with a copy of the network that is evaluated on it.

    Args:
        network: the architecture, in evaluation mode.
        examples: inputs, `(m, ...)`.
        labels: class labels, `(m,)`.
    """

    __test__ = False  # not a test class of pytest

    def __init__(self, network: nn.Module, examples: Examples, labels: Int64[Tensor, " n"]) -> None:
        self._network = network.eval()
        self._examples = examples
        self._labels = labels

    def measure(self, stack: Stack) -> list[tuple[float, float]]:
        """Return the mean cross-entropy and the error rate of each network."""
        held = stack.tensors()
        networks = [
            {name: tensor[row] for name, tensor in held.items()} for row in range(len(stack))
        ]
        sums = torch.zeros(len(stack), 2, dtype=torch.float64, device=self._labels.device)
        with torch.no_grad():
            for start in range(0, len(self._labels), BATCH_SIZE):
                rows = slice(start, start + BATCH_SIZE)
                inputs = self._examples[rows].to(self._labels.device)
                for row, tensors in enumerate(networks):
                    sums[row] += self._score(tensors, inputs, self._labels[rows])
        return [(loss, wrong) for loss, wrong in (sums / len(self._labels)).tolist()]

    def _score(
        self, tensors: dict[str, Tensor], inputs: Tensor, labels: Int64[Tensor, " b"]
    ) -> Float64[Tensor, " 2"]:
        outputs = output_of(functional_call(self._network, tensors, (inputs,)))
        score = score_of(outputs.t().unsqueeze(0), labels.unsqueeze(0))
        return torch.cat([score.loss.double(), score.wrong.double()])
