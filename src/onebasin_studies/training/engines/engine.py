"""Engine: what every way of running a stack of networks on a batch has in common."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Int64, Shaped
from torch import Tensor

from onebasin_studies.training.engines.loss import Score

EngineName = Literal["chain", "vmap", "loop"]


@runtime_checkable
class Engine(Protocol):
    """Runs the networks of a stack forward and backward.

    It is made for one stack, whose networks never change places while it lives.
    """

    def learn(self, inputs: Shaped[Tensor, "k b *each"], labels: Int64[Tensor, "k b"]) -> Score:
        """Put the gradient of each network's mean cross-entropy into its `.grad`.

        Args:
            inputs: one batch for each network.
            labels: their classes.

        Returns:
            How each network did before the step.
        """
        ...
