"""Curves of all pairs of a set of networks.

Each network is evaluated once, and points of several pairs share a pass over the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import Curve, LineNormalization
from onebasin.evaluation.evaluation import Evaluate
from onebasin.evaluation.interpolation import Line, line_of
from onebasin.evaluation.matrices import PairBarriers
from onebasin.evaluation.paths import Weights, same_point
from onebasin.evaluation.points import Evaluations, evaluate_points

# For a pair (i, j), the parameters of network j aligned to network i.
Move = Callable[[int, int], Mapping[str, Tensor]]
PAIRS_AT_ONCE = 32


@checks_arguments
def measure_pairs(
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    evaluate: Evaluate,
    *,
    names: Sequence[str] | None = None,
    move: Move | None = None,
    num_points: int = 25,
    normalization: LineNormalization = "interpolated",
    data: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PairBarriers:
    """Measure the barriers between all pairs of a set of networks.

    Args:
        model: the architecture; its own parameters are ignored.
        networks: parameters and buffers of two or more networks.
        evaluate: as for `interpolate`.
        names: names of the networks; their numbers by default.
        move: function from a pair `(i, j)` to the parameters of j aligned to i. They must
            compute the same function, since network j is evaluated once. By default networks
            are not aligned.
        num_points: number of points of each curve, both endpoints included; 3 for the midpoints.
        normalization: as for `interpolate`.
        data: as for `interpolate`.
        progress: called with the number of pairs done and their total.

    Returns:
        The barriers.

    Raises:
        OneBasinError: there are fewer than two networks, or as for `interpolate`.

    Example:
        >>> networks = [{"weight": Tensor([[value]])} for value in (-1.0, 0.0, 1.0)]
        >>> model = nn.Linear(1, 1, bias=False)
        >>> squares = lambda m: -m(Tensor([[1.0]])).item() ** 2
        >>> measure_pairs(model, networks, squares, num_points=3).matrix()[0].tolist()
        [0.0, 0.25, 1.0]
    """
    barriers = measure_pairs_splits(
        model,
        networks,
        {"": evaluate},
        names=names,
        move=move,
        num_points=num_points,
        normalization=normalization,
        data=data,
        progress=progress,
    )
    return barriers[""]


@checks_arguments
def measure_pairs_splits(
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    evaluates: Mapping[str, Evaluate],
    *,
    names: Sequence[str] | None = None,
    move: Move | None = None,
    num_points: int = 25,
    normalization: LineNormalization = "interpolated",
    data: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, PairBarriers]:
    """Measure all pairs on several datasets at once; each point is computed once.

    Args:
        model: as for `measure_pairs`.
        networks: as for `measure_pairs`.
        evaluates: evaluation functions by name, such as "train" and "test".
        names: as for `measure_pairs`.
        move: as for `measure_pairs`.
        num_points: as for `measure_pairs`.
        normalization: as for `measure_pairs`.
        data: as for `measure_pairs`.
        progress: as for `measure_pairs`.

    Returns:
        The barriers for each name.

    Raises:
        OneBasinError: as for `measure_pairs`.
    """
    shown = _names(networks, names)
    line = line_of("measure_pairs", model, num_points, normalization, data)
    ends = evaluate_points(model, networks, [{i: 1.0} for i in range(len(networks))], evaluates)
    pairs = list(combinations(range(len(networks)), 2))
    between: dict[tuple[int, int], list[Evaluations]] = {}
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        between |= _between(model, networks, part, move, line, evaluates)
        if progress is not None:
            progress(len(between), len(pairs))

    def curve(pair: tuple[int, int], split: str) -> Curve:
        along = [ends[pair[1]], *between[pair], ends[pair[0]]]
        return line.curve([each[split] for each in along])

    return {
        split: PairBarriers(shown, {pair: curve(pair, split) for pair in pairs})
        for split in evaluates
    }


def _between(
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    pairs: Sequence[tuple[int, int]],
    move: Move | None,
    line: Line,
    evaluates: Mapping[str, Evaluate],
) -> dict[tuple[int, int], list[Evaluations]]:
    """Evaluate the inner points of several pairs together."""
    ends = [networks[i] for i, _ in pairs]
    ends += [networks[j] if move is None else move(i, j) for i, j in pairs]
    points: list[Weights] = []
    alphas = line.alphas[1:-1]
    for k in range(len(pairs)):
        # For equal networks, rounding must not change the point.
        is_point = same_point(ends[k], ends[k + len(pairs)])
        points += [{k: 1.0} if is_point else {k: a, k + len(pairs): 1 - a} for a in alphas]
    evaluations = evaluate_points(model, ends, points, evaluates, prepare=line.prepare)
    num = len(alphas)
    return {pair: evaluations[k * num : (k + 1) * num] for k, pair in enumerate(pairs)}


def _names(
    networks: Sequence[Mapping[str, Tensor]], names: Sequence[str] | None
) -> tuple[str, ...]:
    if len(networks) < 2:
        raise OneBasinError(f"measure_pairs: {len(networks)} networks given; pass at least two")
    shown = tuple(map(str, range(len(networks)))) if names is None else tuple(names)
    twice = [name for name in shown if shown.count(name) > 1]
    if len(shown) != len(networks) or twice:
        problem = f", {twice[0]!r} more than once," if twice else ""
        raise OneBasinError(
            f"measure_pairs: {len(shown)} names{problem} for {len(networks)} networks; pass one "
            "unique name for each"
        )
    return shown
