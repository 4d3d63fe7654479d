"""The common interface of all engines."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Int64, Shaped
from torch import Tensor

from onebasin_studies.training.engines.loss import Score

EngineName = Literal["chain", "vmap", "loop"]


@runtime_checkable
class Engine(Protocol):
    """Runs the networks of a stack forward and backward.

    An engine belongs to one stack, whose networks keep their rows.
    """

    def compute_gradients(
        self, inputs: Shaped[Tensor, "k b *each"], labels: Int64[Tensor, "k b"]
    ) -> Score:
        """Store the gradient of each network's mean cross-entropy in its `.grad`.

        Args:
            inputs: one batch per network.
            labels: class labels.

        Returns:
            The loss and the errors of each network before the step.
        """
        ...
