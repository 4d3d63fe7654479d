"""The permutation of Theorem 3.1, which brings two networks at initialization together.

Entezari et al. (2022): wide networks with one hidden layer, not trained, are linearly connected
once their incoming weights are matched cell by cell. A construction to check the rate with; it
is no way to match networks that are trained.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import isfinite, sqrt

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin._random import derive_seed
from onebasin.errors import OneBasinError
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching.result import Matching, Progress, Step
from onebasin.symmetry.layouts import Fixed, Units
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_theorem"

SLACK = 1e-5
"""How far, relatively, an entry may lie outside of the cube by rounding."""


@checks_arguments
def match_theorem(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    cells: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Matching:
    r"""Match the units of two untrained networks with one hidden layer cell by cell.

    The incoming weights of a unit are a point of \([-1/\sqrt d, 1/\sqrt d]^d\). The cube is
    cut into cells; units of A and B in the same cell are matched at random, and those that are
    left over likewise. With inputs of norm \(\sqrt d\) the barrier then falls with the width h
    like \(\tilde O(h^{-1/(2d+4)})\) (Theorem 3.1).

    Differs from the paper:
        - A bias is one more coordinate, that of an input which is always 1.

    Args:
        symmetry: of a network with one hidden layer: one group of h units, with one matrix
            `(h, d)`, at most one bias `(h,)`, and weights that lead out of it.
        params_a: the reference.
        params_b: what is moved.
        cells: into how many parts each axis is cut, by default \(h^{1/(d+2)}\), rounded.
        seed: of the matching inside a cell.
        progress: called with one `Step` at the end.

    Returns:
        The matching; its objective is the number of units that lie in the same cell as their
        partners, before and after. It is as high as it can be.

    Raises:
        OneBasinError: when the symmetry is of another kind of network, `cells` is below one,
            or a network's incoming weights lie outside of the cube, as after training.

    Example:
        >>> from onebasin import trace
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(1, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 1))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> match_theorem(symmetry, a, b).objective[-1]
        64.0
    """
    began = time.perf_counter()
    group, weight, bias = _hidden_layer(symmetry)
    if cells is not None:
        check_counts(CALL, cells=cells)
    check_seed(CALL, seed)
    pair = Pair(symmetry, params_a, params_b, call=CALL)
    pair.survey()
    bound = 1 / sqrt(symmetry.shapes[weight][1])
    points = [_points(pair, side, weight, bias, bound) for side in ("A", "B")]
    num_units, dimension = points[0].shape
    parts = max(1, round(num_units ** (1 / (dimension + 2)))) if cells is None else cells
    cells_a, cells_b = _cells(points[0], points[1], parts, bound)
    same = cells_a == cells_b
    index = _match_cells(cells_a, cells_b, seed)
    matched = cells_a == cells_b[index]
    if progress is not None:
        progress(Step(0, 1, group, 1, 1, float(matched.sum())))
    return Matching(
        permutation=Permutation(symmetry, {group: torch.from_numpy(index)}),
        objective=(float(same.sum()), float(matched.sum())),
        converged=True,
        num_sweeps=1,
        num_solves=0,
        seconds=time.perf_counter() - began,
        restarts=(float(matched.sum()),),
    )


def _hidden_layer(symmetry: Symmetry) -> tuple[str, str, str | None]:
    """Return the one group, its incoming weight and its bias."""
    incoming, biases, others = [], [], []
    for name in symmetry.layouts if len(symmetry.groups) == 1 else ():
        match symmetry.layouts[name]:
            case (Units(), Fixed()):
                incoming.append(name)
            case (Units(),):
                biases.append(name)
            case (Fixed(), Units()) | (Fixed(),):
                pass
            case _:
                others.append(name)
    if len(incoming) != 1 or len(biases) > 1 or others:
        raise OneBasinError(
            f"{CALL}: the construction is for networks with one hidden layer; this symmetry has "
            f"{len(symmetry.groups)} groups of units and {len(symmetry.layouts)} tensors"
        )
    return next(iter(symmetry.groups)), incoming[0], biases[0] if biases else None


def _points(
    pair: Pair, side: str, weight: str, bias: str | None, bound: float
) -> Float64[np.ndarray, "n d"]:
    """Return the incoming weights of every unit, its bias last, all of them in the cube."""
    tensors = [pair.tensor(side, weight)]
    tensors += [] if bias is None else [pair.tensor(side, bias)[:, None]]
    points = torch.cat(tensors, 1).double().numpy()
    outside = float(np.abs(points).max(initial=0.0))
    if not isfinite(outside) or outside > bound * (1 + SLACK):
        raise OneBasinError(
            f"{CALL}: {weight!r} of {side} has entries up to {outside:.3g}, outside of "
            f"[-{bound:.3g}, {bound:.3g}]; the construction is for networks at initialization, "
            "uniform in 1/sqrt(inputs)"
        )
    return points


def _cells(
    points_a: Float64[np.ndarray, "n d"],
    points_b: Float64[np.ndarray, "n d"],
    parts: int,
    bound: float,
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return the number of the cell that each point of A and of B lies in."""
    places = np.floor((np.concatenate((points_a, points_b)) / bound + 1) / 2 * parts)
    places = np.clip(places, 0, parts - 1).astype(np.int64)
    # Cells that hold no point need no number: there may be more of them than fit into 64 bits.
    numbers = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers[: len(points_a)], numbers[len(points_a) :]


def _match_cells(
    cells_a: Int64[np.ndarray, " n"], cells_b: Int64[np.ndarray, " n"], seed: int
) -> Int64[np.ndarray, " n"]:
    """Return for every unit of A one of B, of the same cell as far as there are."""
    rng = np.random.default_rng(derive_seed(seed, CALL))
    order_a, order_b = (rng.permutation(len(each)) for each in (cells_a, cells_b))
    keys_a, keys_b = _ranked(cells_a[order_a]), _ranked(cells_b[order_b])
    _, at_a, at_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    index = np.full(len(cells_a), -1, dtype=np.int64)
    index[order_a[at_a]] = order_b[at_b]
    left = np.setdiff1d(np.arange(len(cells_b)), index)
    index[index < 0] = rng.permutation(left)
    return index


def _ranked(cells: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return a number for every point, made of its cell and how many of it came before."""
    order = np.argsort(cells, kind="stable")
    _, first, counts = np.unique(cells[order], return_index=True, return_counts=True)
    ranks = np.empty(len(cells), dtype=np.int64)
    ranks[order] = np.arange(len(cells)) - np.repeat(first, counts)
    return cells * len(cells) + ranks
