"""Interpolation: a model evaluated along the line between two networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError, check_choice
from onebasin.forward.batches import rereadable
from onebasin.forward.binding import BoundModel
from onebasin.measuring.curves import Curve, Normalization
from onebasin.measuring.evaluation import Evaluate, Evaluation, as_evaluation
from onebasin.measuring.paths import point_between, same_point
from onebasin.measuring.statistics import layers_with_statistics, reset_statistics


def interpolate(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    evaluate: Evaluate,
    *,
    num_points: int = 25,
    normalization: Normalization = "interpolated",
    data: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Curve:
    r"""Evaluate a model along the line \(\alpha\theta_A + (1-\alpha)\theta_B\).

    The model is run in evaluation mode with the parameters of each point; it is not changed.
    The ends are evaluated as they are, whatever the normalization. Where A and B are equal
    the line is one point, and it is evaluated once.

    Args:
        model: the architecture; its own parameters do not matter.
        params_a: parameters and buffers of A (a state dict).
        params_b: those of B.
        evaluate: from `evaluator`, or any function of the model that returns its mean loss, a
            `(loss, error)` pair or an `Evaluation`.
        num_points: points of the grid, both ends included; at least 2.
        normalization: "interpolated" takes running statistics as they come out of the
            interpolation, "reset" estimates them anew at every point between the ends.
        data: batches for "reset", usually those of the training set.
        progress: called with the number of points done and their total.

    Returns:
        The curve.

    Raises:
        OneBasinError: when the parameters do not fit the model or each other, or "reset" has
            no data.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> a, b = {"weight": torch.ones(1, 1)}, {"weight": -torch.ones(1, 1)}
        >>> curve = interpolate(model, a, b, lambda m: 1 - abs(m(torch.ones(1, 1)).item()))
        >>> curve.barrier()
        1.0
    """
    check_choice("interpolate", "normalization", normalization, Normalization)
    if num_points < 2:
        raise OneBasinError(f"interpolate: num_points is {num_points}; it must be at least 2")
    batches = _batches(data) if normalization == "reset" else None

    def at(alpha: float) -> Evaluation:
        point = _point(params_a, params_b, alpha)
        if batches is not None and 0 < alpha < 1:
            point = reset_statistics(model, point, batches)
        with torch.no_grad():
            return as_evaluation(evaluate(BoundModel(model, point)))

    alphas = tuple(i / (num_points - 1) for i in range(num_points))
    is_point = same_point(params_a, params_b)
    found = [at(1.0)] * num_points if is_point else _each(alphas, at, progress)
    num_reset = 0 if batches is None else len(layers_with_statistics(model))
    losses, errors = tuple(e.loss for e in found), tuple(e.error for e in found)
    return Curve(alphas, losses, errors, normalization, num_reset)


def _batches(data: Iterable[Any] | None) -> Iterable[Any]:
    if data is None:
        raise OneBasinError(
            'interpolate: normalization="reset" estimates statistics from data; pass data=, '
            "usually the training batches"
        )
    return rereadable(data, "interpolate")


def _point(
    params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor], alpha: float
) -> Mapping[str, Tensor]:
    if alpha in (0.0, 1.0):
        return params_a if alpha else params_b
    return point_between(params_a, params_b, alpha)


def _each(
    alphas: tuple[float, ...],
    at: Callable[[float], Evaluation],
    progress: Callable[[int, int], None] | None,
) -> list[Evaluation]:
    found = []
    for alpha in alphas:
        found.append(at(alpha))
        if progress is not None:
            progress(len(found), len(alphas))
    return found
