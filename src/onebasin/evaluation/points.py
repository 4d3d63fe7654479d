"""Points: networks evaluated at many points of the space they span.

Every curve, matrix and plane is a set of such points. Owns what they share: a point is made
once for all evaluations, the networks themselves are evaluated once, and small networks go
through the data together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from onebasin._checks import described
from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluation import Evaluate, Evaluation, Evaluator, as_evaluation
from onebasin.evaluation.paths import Shares, point_at
from onebasin.evaluation.pruning import with_common_masks
from onebasin.evaluation.together import FEWEST, evaluate_together, num_at_once
from onebasin.graph.binding import FunctionalModel

Params: TypeAlias = Mapping[str, Tensor]
# From the parameters of a point, the networks and their shares in it to parameters.
Prepare: TypeAlias = Callable[[Params, Sequence[Params], Shares], Params]
Progress: TypeAlias = Callable[[int, int], None]
# What was measured at a point, by the name of what it was measured on.
Evaluations: TypeAlias = dict[str, Evaluation]
Key: TypeAlias = tuple[tuple[int, float], ...]


def evaluate_points(
    model: nn.Module,
    networks: Sequence[Params],
    points: Sequence[Shares],
    evaluates: Mapping[str, Evaluate],
    *,
    prepare: Prepare | None = None,
    together: bool | None = None,
    progress: Progress | None = None,
) -> list[Evaluations]:
    """Evaluate a model at points of the space that networks span.

    Args:
        model: the architecture; it is run in evaluation mode and not changed.
        networks: parameters and buffers of each.
        points: the shares of the networks in each; equal points are evaluated once, and a
            network that has everything is evaluated as it is.
        evaluates: by name, each from `evaluator` or any function of the model; see
            `interpolate`.
        prepare: what is done to the parameters of a point between networks before it is
            evaluated, such as estimating its statistics; called with the parameters of the
            point, the networks and their shares in it.
        together: whether to evaluate points in one batched pass; without it where it pays.
        progress: called with the number of different points done and their total.

    Returns:
        For each point its evaluations, by the names of `evaluates`.

    Raises:
        OneBasinError: when the parameters do not fit the model or each other, or what is to
            evaluate is no function.
    """
    for evaluate in evaluates.values():
        if not callable(evaluate):
            raise OneBasinError(
                f"evaluate is {described(evaluate)}; pass a function of the model, such as"
                " evaluator(inputs, labels)"
            )
    networks = with_common_masks(networks)
    distinct = {_key(point): point for point in points}
    found: dict[Key, Evaluations] = {}
    for keys in _parts(list(distinct), _at_once(model, evaluates, together)):
        params = [_params(networks, distinct[key], prepare) for key in keys]
        found |= zip(keys, _evaluate(model, params, evaluates), strict=True)
        if progress is not None:
            progress(len(found), len(distinct))
    return [found[_key(point)] for point in points]


def _key(point: Shares) -> Key:
    return tuple(sorted((i, share) for i, share in point.items() if share))


def _at_once(model: nn.Module, evaluates: Mapping[str, Evaluate], together: bool | None) -> int:
    """Return how many points are evaluated together."""
    if together is False or not all(isinstance(each, Evaluator) for each in evaluates.values()):
        return 1
    num = num_at_once([*model.parameters(), *model.buffers()])
    return max(num, FEWEST) if together else num


def _parts(keys: Sequence[Key], at_once: int) -> Iterator[Sequence[Key]]:
    """Yield what is evaluated together: networks alone, points between in equal parts."""
    if at_once == 1:
        yield from ([key] for key in keys)
        return
    yield from ([key] for key in keys if len(key) == 1)
    between = [key for key in keys if len(key) > 1]
    num_parts = -(-len(between) // at_once)
    for i in range(num_parts):
        yield between[i * len(between) // num_parts : (i + 1) * len(between) // num_parts]


def _params(networks: Sequence[Params], point: Shares, prepare: Prepare | None) -> Params:
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
            return [dict(zip(evaluates, found, strict=True)) for found in zip(*each, strict=True)]
        except OneBasinError:
            raise
        # What vmap cannot take, and in which words it says so, depends on the model.
        except Exception:
            pass
    with torch.no_grad():
        bound = [FunctionalModel(model, params) for params in networks]
        return [
            {name: as_evaluation(evaluate(each)) for name, evaluate in evaluates.items()}
            for each in bound
        ]
