"""The common interface of all engines, and the score of networks on a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

EngineName = Literal["vmap", "loop"]


@dataclass(frozen=True)
class Score:
    """The loss and the errors of networks on a batch.

    Args:
        loss: sum of the cross-entropies of each network.
        wrong: number of errors of each network; ties resolve to the first class.
    """

    loss: Float[Tensor, " k"]
    wrong: Int64[Tensor, " k"]


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


def score_of(logits: Float[Tensor, "k c b"], labels: Int64[Tensor, "k b"]) -> Score:
    """Return the loss and the errors of networks, without recording gradients.

    Args:
        logits: logits with the class dimension before the batch dimension.
        labels: class labels.
    """
    logarithms = torch.log_softmax(logits.detach().float(), 1)
    chosen = labels.unsqueeze(1)
    right = _is_right(logarithms, chosen).sum((1, 2))
    return Score(-logarithms.gather(1, chosen).sum((1, 2)), chosen.shape[2] - right)


def _is_right(
    logarithms: Float[Tensor, "k c b"], chosen: Int64[Tensor, "k 1 b"]
) -> Bool[Tensor, "k 1 b"]:
    """Return where the label is the first class with the largest logit.

    NaN is never at least as large as the maximum, so such outputs count as errors.
    """
    top = logarithms.amax(1, keepdim=True)
    is_top = logarithms >= top
    right = is_top.gather(1, chosen)
    # `argmax` along classes is ten times slower on a CPU. It is needed only for ties: when
    # the number of maxima exceeds the number of examples with a finite maximum.
    if not logarithms.is_cuda and is_top.count_nonzero() == (top == top).count_nonzero():
        return right
    return right & (logarithms.argmax(1, keepdim=True) == chosen)
