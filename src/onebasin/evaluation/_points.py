"""Networks evaluated at many points of the space they span.

All curves, matrices and planes are sets of such points. A point is computed once for all
evaluations, equal points are evaluated once, and small networks are evaluated together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from onebasin._checks import described
from onebasin.errors import OneBasinError
from onebasin.evaluation._paths import Weights, point_at
from onebasin.evaluation.evaluator import Evaluate, Evaluation, Evaluator, as_evaluation
from onebasin.evaluation.pruning import with_common_masks
from onebasin.evaluation.together import FEWEST, evaluate_together, num_at_once
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
    together: bool | None = None,
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
        together: whether to evaluate points in one batched pass; by default if it is faster.
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
    for keys in _parts(list(distinct), _at_once(model, evaluates, together)):
        params = [_params(networks, distinct[key], prepare) for key in keys]
        results |= zip(keys, _evaluate(model, params, evaluates), strict=True)
        if progress is not None:
            progress(len(results), len(distinct))
    return [results[_key(point)] for point in points]


def _key(point: Weights) -> Key:
    return tuple(sorted((i, weight) for i, weight in point.items() if weight))


def _at_once(model: nn.Module, evaluates: Mapping[str, Evaluate], together: bool | None) -> int:
    """Return the number of points that are evaluated together."""
    if together is False or not all(isinstance(each, Evaluator) for each in evaluates.values()):
        return 1
    num = num_at_once([*model.parameters(), *model.buffers()])
    return max(num, FEWEST) if together else num


def _parts(keys: Sequence[Key], at_once: int) -> Iterator[Sequence[Key]]:
    """Yield the points of each pass: networks alone, other points in equal parts."""
    if at_once == 1:
        yield from ([key] for key in keys)
        return
    yield from ([key] for key in keys if len(key) == 1)
    between = [key for key in keys if len(key) > 1]
    num_parts = -(-len(between) // at_once)
    for i in range(num_parts):
        yield between[i * len(between) // num_parts : (i + 1) * len(between) // num_parts]


def _params(networks: Sequence[Params], point: Weights, prepare: Prepare | None) -> Params:
    params = point_at(networks, point)
    if prepare is None or len(_key(point)) == 1:
        return params
    return prepare(params, networks, point)


def _evaluate(
    model: nn.Module, networks: Sequence[Params], evaluates: Mapping[str, Evaluate]
) -> list[Evaluations]:
    if len(networks) > 1:
        try:
            each = [
                evaluate_together(model, networks, cast(Evaluator, evaluate))
                for evaluate in evaluates.values()
            ]
            return [dict(zip(evaluates, row, strict=True)) for row in zip(*each, strict=True)]
        except OneBasinError:
            raise
        # The errors of vmap for unsupported operators depend on the model.
        except Exception:
            pass
    with torch.no_grad():
        bound = [FunctionalModel(model, params) for params in networks]
        return [
            {name: as_evaluation(evaluate(each)) for name, evaluate in evaluates.items()}
            for each in bound
        ]
