"""Cross-entropy, its gradient and the errors of many networks in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """The loss and the errors of networks on a batch.

    Args:
        loss: sum of the cross-entropies of each network.
        wrong: number of errors of each network; ties resolve to the first class.
    """

    loss: Float[Tensor, " k"]
    wrong: Int64[Tensor, " k"]


def score_of(logits: Float[Tensor, "k c b"], labels: Int64[Tensor, "k b"]) -> Score:
    """Return the loss and the errors of networks, without recording gradients.

    Args:
        logits: logits with the class dimension before the batch dimension.
        labels: class labels.
    """
    logarithms = torch.log_softmax(logits.detach().float(), 1)
    return _score(logarithms, labels.unsqueeze(1))


def loss_and_grad(
    logits: Float[Tensor, "k c b"], labels: Int64[Tensor, "k b"]
) -> tuple[Score, Float[Tensor, "k c b"]]:
    """Return the score of networks and the gradient of their mean cross-entropies.

    Args:
        logits: logits with the class dimension before the batch dimension. Softmax then runs along
            examples, which is many times faster on a CPU.
        labels: class labels.

    Returns:
        The score, and the gradient with respect to the logits.
    """
    chosen = labels.unsqueeze(1)
    logarithms = torch.log_softmax(logits, 1)
    score = _score(logarithms, chosen)
    grad = logarithms.exp_()
    grad.scatter_add_(1, chosen, grad.new_full((1, 1, 1), -1.0).expand_as(chosen))
    return score, grad.div_(labels.shape[1])


def _score(logarithms: Float[Tensor, "k c b"], chosen: Int64[Tensor, "k 1 b"]) -> Score:
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
