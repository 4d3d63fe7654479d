"""Pairs: all pairs of a set of networks measured.

Owns what the pairs share: each network is evaluated once, and points of many pairs in one
pass over the data.
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
from onebasin.evaluation.paths import Shares, same_point
from onebasin.evaluation.points import Evaluations, evaluate_points

# Where a network lies when it is to be compared with another: for (i, j) the parameters of j.
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
        model: the architecture; its own parameters do not matter.
        networks: parameters and buffers of each, at least two.
        evaluate: as for `interpolate`.
        names: what the networks are called; their numbers without it.
        move: for the numbers `(i, j)` of a pair the parameters of j where they are to be
            compared with i, such as aligned to it. It must be the same function; what network
            j achieves is measured once. Without it networks stay where they are.
        num_points: points of each curve, both ends included; 3 for the midpoints alone.
        normalization: as for `interpolate`.
        data: as for `interpolate`.
        progress: called with the number of pairs done and their total.

    Returns:
        The barriers.

    Raises:
        OneBasinError: when there are fewer than two networks, or as for `interpolate`.

    Example:
        >>> networks = [{"weight": Tensor([[value]])} for value in (-1.0, 0.0, 1.0)]
        >>> model = nn.Linear(1, 1, bias=False)
        >>> squares = lambda m: -m(Tensor([[1.0]])).item() ** 2
        >>> measure_pairs(model, networks, squares, num_points=3).matrix()[0].tolist()
        [0.0, 0.25, 1.0]
    """
    found = measure_pairs_splits(
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
    return found[""]


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
    """Measure all pairs on several sets of data at once, each point made once.

    Args:
        model: as for `measure_pairs`.
        networks: as for `measure_pairs`.
        evaluates: by name, such as "train" and "test", what `measure_pairs` takes one of.
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
    points: list[Shares] = []
    alphas = line.alphas[1:-1]
    for k in range(len(pairs)):
        # Between equal networks lies nothing, and rounding must not make it more.
        is_point = same_point(ends[k], ends[k + len(pairs)])
        points += [{k: 1.0} if is_point else {k: a, k + len(pairs): 1 - a} for a in alphas]
    found = evaluate_points(model, ends, points, evaluates, prepare=line.prepare)
    num = len(alphas)
    return {pair: found[k * num : (k + 1) * num] for k, pair in enumerate(pairs)}


def _names(
    networks: Sequence[Mapping[str, Tensor]], names: Sequence[str] | None
) -> tuple[str, ...]:
    if len(networks) < 2:
        raise OneBasinError(f"measure_pairs: {len(networks)} networks given; give at least two")
    shown = tuple(map(str, range(len(networks)))) if names is None else tuple(names)
    twice = [name for name in shown if shown.count(name) > 1]
    if len(shown) != len(networks) or twice:
        problem = f", {twice[0]!r} more than once," if twice else ""
        raise OneBasinError(
            f"measure_pairs: {len(shown)} names{problem} for {len(networks)} networks; give each "
            "its own"
        )
    return shown
