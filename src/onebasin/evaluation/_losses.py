"""Loss and number of wrong answers of outputs on a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from onebasin.errors import ArgumentError
from onebasin.graph.batches import IGNORE_INDEX

Loss: TypeAlias = str | Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Part:
    """Result of a network on one batch.

    Args:
        loss: sum over the examples.
        wrong: number of wrong answers; None without classes.
        num_examples: number of examples, ignored ones excluded.
    """

    loss: float
    wrong: int | None
    num_examples: int


def measure_batch(outputs: Shaped[Tensor, " n *each"], labels: Tensor, loss: Loss) -> Part:
    """Return the summed loss and the number of wrong answers of one batch.

    Args:
        outputs: outputs of the model.
        labels: as for `evaluator`.
        loss: as for `evaluator`.

    Raises:
        OneBasinError: outputs and labels do not match the loss.
    """
    wide = outputs if outputs.dtype == torch.float64 else outputs.float()
    if loss == "mse":
        squares = (wide - _targets(wide, labels)).square().unsqueeze(-1).flatten(1).mean(1)
        return Part(float(squares.double().sum()), None, len(squares))
    logits, classes = flat_classes(wide, labels) if are_classes(wide, labels) else (wide, None)
    num_examples = len(labels) if classes is None else int((classes != IGNORE_INDEX).sum())
    wrong = None if classes is None else int(_wrong(logits, classes).sum())
    if callable(loss):
        losses = loss(outputs, labels).double()
        total = losses.sum() if losses.ndim else losses * num_examples
        return Part(float(total), wrong, num_examples)
    if classes is None and labels.ndim and len(labels) != len(wide):
        raise ArgumentError(
            f"a batch has {len(wide)} outputs but {len(labels)} labels; give one label for each"
        )
    if classes is None:
        raise ArgumentError(
            f"outputs are {tuple(outputs.shape)} and labels {tuple(labels.shape)} "
            f"{labels.dtype}; cross_entropy needs outputs (n, classes) and integer labels (n,)"
        )
    check_classes(classes, logits.shape[-1])
    losses = F.cross_entropy(logits, classes, reduction="none")
    return Part(float(losses.double().sum()), wrong, num_examples)


def are_classes(outputs: Tensor, labels: Tensor) -> bool:
    """Return whether labels are one integer class for each row of outputs."""
    whole = not (labels.is_floating_point() or labels.is_complex())
    return whole and outputs.ndim == labels.ndim + 1 and outputs.shape[:-1] == labels.shape


def flat_classes(
    outputs: Float[Tensor, "*rows c"], labels: Shaped[Tensor, " *rows"]
) -> tuple[Float[Tensor, "n c"], Int64[Tensor, " n"]]:
    """Return outputs and labels with flattened rows."""
    return outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1).long()


def check_classes(classes: Tensor, num_classes: int) -> None:
    """Check that labels are valid class indices (-100 is ignored).

    Args:
        classes: integer labels.
        num_classes: number of classes.

    Raises:
        OneBasinError: a label is not a class index.
    """
    counted = classes[classes != IGNORE_INDEX]
    low, high = (int(each) for each in counted.aminmax()) if len(counted) else (0, 0)
    if low < 0 or high >= num_classes:
        raise ArgumentError(
            f"labels are {low} to {high}, but there are {num_classes} classes; use 0 to "
            f"{num_classes - 1}, or {IGNORE_INDEX} to ignore an example"
        )


def _targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return targets in the shape of outputs; only dimensions of size 1 may differ.

    Broadcasting targets `(n,)` against outputs `(n, 1)` would give `(n, n)`.
    """
    here, there = ([n for n in each.shape[1:] if n != 1] for each in (outputs, targets))
    if here != there or outputs.shape[:1] != targets.shape[:1]:
        raise ArgumentError(
            f"outputs are {tuple(outputs.shape)} and targets {tuple(targets.shape)}; "
            "mse needs one target for each output"
        )
    return targets.reshape(outputs.shape)


def _wrong(logits: Float[Tensor, "*k n c"], classes: Int64[Tensor, " n"]) -> Bool[Tensor, "*k n"]:
    return (logits.argmax(-1) != classes) & (classes != IGNORE_INDEX)
