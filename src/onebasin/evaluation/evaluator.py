"""Loss and error of a model on data.

Provides `Evaluation`, `evaluator`, which turns data into a function of a model, and the return
types of custom evaluation functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, nan
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from onebasin.data.data import Data, SplitName
from onebasin.errors import ArgumentError, public
from onebasin.evaluation._losses import Loss, Part, measure_batch
from onebasin.graph.batches import (
    Batches,
    as_reiterable,
    inputs_of,
    labels_of,
    output_of,
    run_model,
)
from onebasin.graph.binding import evaluation_mode


@dataclass(frozen=True)
class Evaluation:
    """Loss and error of a model on data.

    Args:
        loss: mean loss over the examples.
        error: fraction of wrongly classified examples, in [0, 1]; NaN without classes.
        num_examples: number of examples; 0 if unknown.
    """

    loss: float
    error: float = nan
    num_examples: int = 0

    @property
    def accuracy(self) -> float:
        """Fraction of correctly classified examples, `1 - error`."""
        return 1.0 - self.error

    @property
    def perplexity(self) -> float:
        """Exponential of the loss, for a mean cross-entropy per token."""
        try:
            return exp(self.loss)
        except OverflowError:
            return inf


# A function from a model to its evaluation, its loss, or both numbers.
Evaluate: TypeAlias = Callable[[nn.Module], Evaluation | float | tuple[float, float]]


@dataclass(frozen=True)
class Evaluator:
    """Evaluates any model on the same batches; see `evaluator`.

    Args:
        batches: batches with labels that can be read more than once.
        loss: "cross_entropy", "mse" or a function of outputs and labels.
    """

    batches: Iterable[Any]
    loss: Loss = "cross_entropy"

    @public
    def __call__(self, model: nn.Module, /) -> Evaluation:
        """Return the evaluation of a model, in evaluation mode; the model is not changed."""
        parts = []
        with evaluation_mode(model), torch.no_grad():
            for number, batch in enumerate(self.batches):
                labels = labels_of(batch, number)
                outputs = output_of(run_model(model, inputs_of(batch)))
                parts.append(measure_batch(outputs, labels.to(outputs.device), self.loss))
        return summed(parts)


def summed(parts: Sequence[Part]) -> Evaluation:
    """Return the evaluation over all batches from those of each.

    Raises:
        OneBasinError: the batches have no examples.
    """
    num_examples = sum(part.num_examples for part in parts)
    if not num_examples:
        raise ArgumentError("the data has no examples; pass at least one batch")
    wrong = [part.wrong for part in parts if part.wrong is not None]
    error = sum(wrong) / num_examples if len(wrong) == len(parts) else nan
    return Evaluation(sum(part.loss for part in parts) / num_examples, error, num_examples)


@public
def evaluator(
    inputs: Tensor | Iterable[Any],
    labels: Tensor | None = None,
    *,
    batch_size: int = 1000,
    loss: Loss = "cross_entropy",
) -> Evaluator:
    """Return a function that evaluates a model on data.

    Losses are summed in float64. The mean is over examples, independent of the batch sizes. Labels
    of -100 are ignored. Tensors move to the device of the model.

    Args:
        inputs: all inputs, `(n, ...)`; or, without `labels`, an iterable of batches such as a
            DataLoader. A batch is `(inputs, labels)`, with inputs as a tensor, a tuple of
            positional arguments or a mapping of keyword arguments. It can also be one mapping
            with an entry `labels` and keyword arguments.
        labels: classes `(n,)`, or `(n, t)` for one class per token; targets for "mse".
        batch_size: examples per batch, with `labels`.
        loss: "cross_entropy", "mse", or a function of outputs and labels that returns one
            loss per example or their mean.

    Returns:
        A function from model to `Evaluation`.

    Raises:
        OneBasinError: the data do not match or can be read only once.

    Example:
        >>> evaluate = evaluator(torch.eye(3), torch.tensor([0, 1, 1]))
        >>> evaluate(nn.Identity()).error
        0.3333333333333333
    """
    if not callable(loss) and loss not in ("cross_entropy", "mse"):
        raise ArgumentError(f"unknown loss {loss!r}; use 'cross_entropy', 'mse' or a function")
    if labels is None:
        return Evaluator(as_reiterable(inputs), loss)
    tensors = torch.as_tensor(inputs), torch.as_tensor(labels)
    return Evaluator(Batches(*tensors, batch_size=batch_size), loss)


def as_evaluation(value: Any) -> Evaluation:
    """Convert the return value of an evaluation function to an `Evaluation`.

    Args:
        value: an `Evaluation`, a loss, or a `(loss, error)` pair.

    Raises:
        OneBasinError: the value has another type.
    """
    if isinstance(value, Evaluation):
        return value
    try:
        if isinstance(value, tuple | list):
            loss, error = value
            return Evaluation(float(loss), float(error))
        return Evaluation(float(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"evaluate returned {type(value).__name__}, expected a loss, a "
            "(loss, error) pair or an Evaluation"
        ) from error


def evaluator_of(data: Data, split: SplitName) -> Evaluator:
    """Return a function that evaluates a model on a split of data.

    Args:
        data: the examples.
        split: "train" or "test".

    Raises:
        OneBasinError: the split does not exist or has no labels.
    """
    if not data.has_labels(split):
        raise ArgumentError(f"{data.name} has no labels ({split} split); pass labeled data")
    return evaluator(data.batches(split))
