"""Losses: what the outputs of one or several networks on a batch come to.

Owns the loss and the count of wrong answers of a batch, and their sums over batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.graph.batches import IGNORED

Loss: TypeAlias = str | Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Part:
    """What a network achieves on one batch.

    Args:
        loss: summed over the examples.
        wrong: number of wrong answers; None where there are no classes.
        num_examples: how many examples count.
    """

    loss: float
    wrong: int | None
    num_examples: int


def measure_batch(outputs: Shaped[Tensor, " n *each"], labels: Tensor, loss: Loss) -> Part:
    """Return the summed loss and the number of wrong answers of one batch.

    Args:
        outputs: of the model.
        labels: as for `evaluator`.
        loss: as for `evaluator`.

    Raises:
        OneBasinError: when outputs and labels do not fit the loss.
    """
    wide = outputs if outputs.dtype == torch.float64 else outputs.float()
    if loss == "mse":
        squares = (wide - _targets(wide, labels)).square().unsqueeze(-1).flatten(1).mean(1)
        return Part(float(squares.double().sum()), None, len(squares))
    logits, classes = flat_classes(wide, labels) if are_classes(wide, labels) else (wide, None)
    num_examples = len(labels) if classes is None else int((classes != IGNORED).sum())
    wrong = None if classes is None else int(_wrong(logits, classes).sum())
    if callable(loss):
        losses = loss(outputs, labels).double()
        total = losses.sum() if losses.ndim else losses * num_examples
        return Part(float(total), wrong, num_examples)
    if classes is None:
        raise OneBasinError(
            f"evaluator: outputs are {tuple(outputs.shape)} and labels {tuple(labels.shape)} "
            f"{labels.dtype}; cross_entropy needs outputs (n, classes) and integer labels (n,)"
        )
    check_classes("evaluator", classes, logits.shape[-1])
    losses = F.cross_entropy(logits, classes, reduction="none")
    return Part(float(losses.double().sum()), wrong, num_examples)


def measure_batch_together(
    outputs: Shaped[Tensor, "k n *each"], labels: Tensor, loss: Loss
) -> list[Part]:
    """Return what `measure_batch` gives for each of several networks on one batch.

    Args:
        outputs: of each network.
        labels: the same for all.
        loss: as for `evaluator`.

    Raises:
        OneBasinError: as for `measure_batch`.
    """
    if loss != "cross_entropy" or not are_classes(outputs[0], labels):
        return [measure_batch(each, labels, loss) for each in outputs]
    wide = outputs if outputs.dtype == torch.float64 else outputs.float()
    logits = wide.reshape(len(wide), -1, wide.shape[-1])
    classes = labels.reshape(-1).long()
    check_classes("evaluator", classes, wide.shape[-1])
    counted = classes != IGNORED
    index = classes.clamp(min=0).expand(len(logits), -1).unsqueeze(-1)
    losses = logits.logsumexp(-1) - logits.gather(-1, index).squeeze(-1)
    totals = (losses.double() * counted).sum(1).tolist()
    wrong = _wrong(logits, classes).sum(1).tolist()
    num_examples = int(counted.sum())
    return [Part(each, w, num_examples) for each, w in zip(totals, wrong, strict=True)]


def are_classes(outputs: Tensor, labels: Tensor) -> bool:
    """Tell whether labels name one class for each row of outputs."""
    whole = not (labels.is_floating_point() or labels.is_complex())
    return whole and outputs.ndim == labels.ndim + 1 and outputs.shape[:-1] == labels.shape


def flat_classes(
    outputs: Float[Tensor, "*rows c"], labels: Shaped[Tensor, " *rows"]
) -> tuple[Float[Tensor, "n c"], Int64[Tensor, " n"]]:
    """Return outputs and labels with all rows one after the other."""
    return outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1).long()


def check_classes(call: str, classes: Tensor, num_classes: int) -> None:
    """Check that labels name classes that there are; -100 names none.

    Args:
        call: who asks, for the message.
        classes: labels, of whole numbers.
        num_classes: how many there are.

    Raises:
        OneBasinError: when one does not.
    """
    counted = classes[classes != IGNORED]
    low, high = (int(each) for each in counted.aminmax()) if len(counted) else (0, 0)
    if low < 0 or high >= num_classes:
        raise OneBasinError(
            f"{call}: labels are {low} to {high}, but there are {num_classes} classes; they must "
            f"be 0 to {num_classes - 1}, or {IGNORED} where they do not count"
        )


def _targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return targets in the shape of outputs, from which only dimensions of size 1 may differ.

    Subtracting broadcasts: targets `(n,)` from outputs `(n, 1)` would make every pair `(n, n)`.
    """
    here, there = ([n for n in each.shape[1:] if n != 1] for each in (outputs, targets))
    if here != there or outputs.shape[:1] != targets.shape[:1]:
        raise OneBasinError(
            f"evaluator: outputs are {tuple(outputs.shape)} and targets {tuple(targets.shape)}; "
            "mse needs one target for each output"
        )
    return targets.reshape(outputs.shape)


def _wrong(logits: Float[Tensor, "*k n c"], classes: Int64[Tensor, " n"]) -> Bool[Tensor, "*k n"]:
    return (logits.argmax(-1) != classes) & (classes != IGNORED)
