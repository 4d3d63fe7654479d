"""Networks evaluated at many points of the space they span.

All curves, matrices and planes are sets of such points. A point is computed once for all
evaluations, and equal points are evaluated once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from onebasin._checks import described
from onebasin.errors import OneBasinError
from onebasin.evaluation._paths import Weights, point_at
from onebasin.evaluation._pruning import with_common_masks
from onebasin.evaluation.evaluator import Evaluate, Evaluation, as_evaluation
from onebasin.graph.binding import FunctionalModel

Params: TypeAlias = Mapping[str, Tensor]
# Function from the parameters of a point, the networks and their weights to new parameters.
Prepare: TypeAlias = Callable[[Params, Sequence[Params], Weights], Params]
Progress: TypeAlias = Callable[[int, int], None]
# Evaluations of a point by name.
Evaluations: TypeAlias = dict[str, Evaluation]
Key: TypeAlias = tuple[tuple[int, float], ...]


def evaluate_points(
    model: nn.Module,
    networks: Sequence[Params],
    points: Sequence[Weights],
    evaluates: Mapping[str, Evaluate],
    *,
    prepare: Prepare | None = None,
    progress: Progress | None = None,
) -> list[Evaluations]:
    """Evaluate a model at points of the space that networks span.

    Args:
        model: the architecture; run in evaluation mode and not changed.
        networks: parameters and buffers of each network.
        points: weights of the networks at each point; equal points are evaluated once, and a
            single network is evaluated without a copy.
        evaluates: evaluation functions by name; see `interpolate`.
        prepare: function applied to the parameters of a point between networks, such as a reset
            of statistics. Its arguments are the parameters of the point, the networks and their
            weights.
        progress: called with the number of distinct points done and their total.

    Returns:
        For each point its evaluations by name.

    Raises:
        OneBasinError: the parameters do not match the model or each other, or an evaluation
            function is not callable.
    """
    for evaluate in evaluates.values():
        if not callable(evaluate):
            raise OneBasinError(
                f"evaluate is {described(evaluate)}; pass a function of the model, such as"
                " evaluator(inputs, labels)"
            )
    networks = with_common_masks(networks)
    distinct = {_key(point): point for point in points}
    results: dict[Key, Evaluations] = {}
    for key, point in distinct.items():
        results[key] = _evaluate(model, _params(networks, point, prepare), evaluates)
        if progress is not None:
            progress(len(results), len(distinct))
    return [results[_key(point)] for point in points]


def _key(point: Weights) -> Key:
    return tuple(sorted((i, weight) for i, weight in point.items() if weight))


def _params(networks: Sequence[Params], point: Weights, prepare: Prepare | None) -> Params:
    params = point_at(networks, point)
    if prepare is None or len(_key(point)) == 1:
        return params
    return prepare(params, networks, point)


def _evaluate(model: nn.Module, params: Params, evaluates: Mapping[str, Evaluate]) -> Evaluations:
    bound = FunctionalModel(model, params)
    with torch.no_grad():
        return {name: as_evaluation(evaluate(bound)) for name, evaluate in evaluates.items()}
