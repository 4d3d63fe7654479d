"""The loss of training, and its gradient, for many networks in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """How networks did on a batch.

    Args:
        loss: sum of the cross-entropies, `(n,)`.
        wrong: number of examples that were got wrong, `(n,)`; of classes that are equally likely
            the first is the answer.
    """

    loss: Tensor
    wrong: Tensor


def score_of(logits: Tensor, labels: Tensor) -> Score:
    """Return how networks did; no gradient is recorded.

    Args:
        logits: classes come before examples, `(n, c, b)`.
        labels: classes, `(n, b)`.
    """
    logarithms = torch.log_softmax(logits.detach().float(), 1)
    return _score(logarithms, labels.unsqueeze(1))


def score_and_slope(logits: Tensor, labels: Tensor) -> tuple[Score, Tensor]:
    """Return how networks did, and the gradient of their mean cross-entropies.

    Args:
        logits: classes come before examples, `(n, c, b)`: so softmax runs along examples,
            which is many times faster on a CPU.
        labels: classes, `(n, b)`.

    Returns:
        The score, and the gradient by the logits, `(n, c, b)`.
    """
    chosen = labels.unsqueeze(1)
    logarithms = torch.log_softmax(logits, 1)
    score = _score(logarithms, chosen)
    slope = logarithms.exp_()
    slope.scatter_add_(1, chosen, slope.new_full((1, 1, 1), -1.0).expand_as(chosen))
    return score, slope.div_(labels.shape[1])


def _score(logarithms: Tensor, chosen: Tensor) -> Score:
    right = _is_right(logarithms, chosen).sum((1, 2))
    return Score(-logarithms.gather(1, chosen).sum((1, 2)), chosen.shape[2] - right)


def _is_right(logarithms: Tensor, chosen: Tensor) -> Tensor:
    """Return where the label is the first of the likeliest classes, `(n, 1, b)`.

    Nothing is at least as large as a largest value that is no number: such outputs are wrong.
    """
    is_top = logarithms >= logarithms.amax(1, keepdim=True)
    right = is_top.gather(1, chosen)
    # `argmax` along classes is ten times slower on a CPU, and only ties need it.
    if not logarithms.is_cuda and is_top.count_nonzero() <= chosen.numel():
        return right
    return right & (logarithms.argmax(1, keepdim=True) == chosen)
