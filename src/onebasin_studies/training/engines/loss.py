"""The loss of training, and its gradient, for many networks in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """How networks did on a batch.

    Args:
        loss: of each, the sum of the cross-entropies.
        wrong: of each, the number of examples that it got wrong; of classes that are equally
            likely the first is the answer.
    """

    loss: Float[Tensor, " k"]
    wrong: Int64[Tensor, " k"]


def score_of(logits: Float[Tensor, "k c b"], labels: Int64[Tensor, "k b"]) -> Score:
    """Return how networks did; no gradient is recorded.

    Args:
        logits: classes come before examples.
        labels: classes.
    """
    logarithms = torch.log_softmax(logits.detach().float(), 1)
    return _score(logarithms, labels.unsqueeze(1))


def score_and_slope(
    logits: Float[Tensor, "k c b"], labels: Int64[Tensor, "k b"]
) -> tuple[Score, Float[Tensor, "k c b"]]:
    """Return how networks did, and the gradient of their mean cross-entropies.

    Args:
        logits: classes come before examples: so softmax runs along examples, which is many
            times faster on a CPU.
        labels: classes.

    Returns:
        The score, and the gradient by the logits.
    """
    chosen = labels.unsqueeze(1)
    logarithms = torch.log_softmax(logits, 1)
    score = _score(logarithms, chosen)
    slope = logarithms.exp_()
    slope.scatter_add_(1, chosen, slope.new_full((1, 1, 1), -1.0).expand_as(chosen))
    return score, slope.div_(labels.shape[1])


def _score(logarithms: Float[Tensor, "k c b"], chosen: Int64[Tensor, "k 1 b"]) -> Score:
    right = _is_right(logarithms, chosen).sum((1, 2))
    return Score(-logarithms.gather(1, chosen).sum((1, 2)), chosen.shape[2] - right)


def _is_right(
    logarithms: Float[Tensor, "k c b"], chosen: Int64[Tensor, "k 1 b"]
) -> Bool[Tensor, "k 1 b"]:
    """Return where the label is the first of the likeliest classes.

    Nothing is at least as large as a largest value that is no number: such outputs are wrong.
    """
    top = logarithms.amax(1, keepdim=True)
    is_top = logarithms >= top
    right = is_top.gather(1, chosen)
    # `argmax` along classes is ten times slower on a CPU, and only ties need it: more largest
    # values than there are examples with a number for one.
    if not logarithms.is_cuda and is_top.count_nonzero() == (top == top).count_nonzero():
        return right
    return right & (logarithms.argmax(1, keepdim=True) == chosen)
