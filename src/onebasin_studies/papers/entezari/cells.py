r"""Cell matching: the permutation of Theorem 3.1 (Entezari et al., 2022).

Wide networks with one hidden layer are linearly connected at initialization, once their incoming
weights are matched cell by cell. The construction verifies the rate of the theorem. It does not
apply to trained networks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import isfinite, sqrt

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from onebasin._random import derive_seed
from onebasin.errors import ArgumentError, check_whole, public
from onebasin.matching import Matching
from onebasin.symmetry.layouts import Fixed, Units
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

RANDOM_STREAM = "match_theorem"
"""Name of the random stream, which fixes the published results."""

SLACK = 1e-5
"""Relative rounding error that an entry at the boundary of the cube may have."""


@public
def match_cells(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    cells: int | None = None,
    seed: int = 0,
) -> Matching:
    r"""Match the units of two untrained networks with one hidden layer cell by cell.

    The incoming weights of a unit are a point of \([-1/\sqrt d, 1/\sqrt d]^d\). The cube is
    divided into cells. Units of A and B in the same cell are matched at random, then the
    remaining units are matched at random. With inputs of norm \(\sqrt d\), the barrier decreases
    with the width h as \(\tilde O(h^{-1/(2d+4)})\) (Theorem 3.1).

    Differs from the paper:
        - A bias is an additional coordinate, with a constant input of 1.

    Args:
        symmetry: symmetry of a network with one hidden layer: one group of h units, one matrix
            `(h, d)`, at most one bias `(h,)`, and outgoing weights.
        params_a: the reference network.
        params_b: the network to permute.
        cells: number of parts of each axis, by default \(h^{1/(d+2)}\), rounded.
        seed: random seed of the matching inside a cell.

    Returns:
        The matching. Its objective is the number of units in the same cell as their partners,
        before and after; the final value is the maximum.

    Raises:
        OneBasinError: the symmetry has another structure, `cells` is below one, or incoming
            weights lie outside of the cube, as after training.

    Example:
        >>> from onebasin import infer_symmetry
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(1, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 1))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> match_cells(symmetry, a, b).objective[-1]
        64.0
    """
    began = time.perf_counter()
    group, weight, bias = _hidden_layer(symmetry)
    if cells is not None:
        check_whole("cells", cells, least=1)
    check_whole("seed", seed, least=0)
    bound = 1 / sqrt(symmetry.shapes[weight][1])
    points_a = _points(params_a, "A", weight, bias, bound)
    points_b = _points(params_b, "B", weight, bias, bound)
    num_units, dimension = points_a.shape
    num_parts = max(1, round(num_units ** (1 / (dimension + 2)))) if cells is None else cells
    cells_a, cells_b = _cell_numbers(points_a, points_b, num_parts, bound)
    index = _match_cell_numbers(cells_a, cells_b, seed)
    num_matched = float((cells_a == cells_b[index]).sum())
    return Matching(
        permutation=Permutation(symmetry, {group: torch.from_numpy(index)}),
        objective=(float((cells_a == cells_b).sum()), num_matched),
        converged=True,
        num_sweeps=1,
        num_solves=0,
        seconds=time.perf_counter() - began,
        restarts=(num_matched,),
    )


def _hidden_layer(symmetry: Symmetry) -> tuple[str, str, str | None]:
    """Return the names of the group, its incoming weight and its bias."""
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
        raise ArgumentError(
            f"the network must have one hidden layer (got {len(symmetry.groups)} groups "
            f"of units and {len(symmetry.layouts)} tensors)"
        )
    return next(iter(symmetry.groups)), incoming[0], biases[0] if biases else None


def _points(
    params: Mapping[str, Tensor], network: str, weight: str, bias: str | None, bound: float
) -> Float64[np.ndarray, "n d"]:
    """Return the incoming weights of every unit, then its bias."""
    tensors = [params[weight].detach()]
    tensors += [] if bias is None else [params[bias].detach()[:, None]]
    points = torch.cat(tensors, 1).double().numpy()
    largest = float(np.abs(points).max(initial=0.0))
    if not isfinite(largest) or largest > bound * (1 + SLACK):
        raise ArgumentError(
            f"{weight!r} of {network} has entries up to {largest:.3g}, outside of "
            f"[-{bound:.3g}, {bound:.3g}]; use networks at initialization, uniform in "
            "1/sqrt(inputs)"
        )
    return points


def _cell_numbers(
    points_a: Float64[np.ndarray, "n d"],
    points_b: Float64[np.ndarray, "n d"],
    num_parts: int,
    bound: float,
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return the cell number of each point of A and of B."""
    positions = np.floor((np.concatenate((points_a, points_b)) / bound + 1) / 2 * num_parts)
    positions = np.clip(positions, 0, num_parts - 1).astype(np.int64)
    # Only cells with points are numbered: the number of all cells can exceed 64 bits.
    numbers = np.unique(positions, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers[: len(points_a)], numbers[len(points_a) :]


def _match_cell_numbers(
    cells_a: Int64[np.ndarray, " n"], cells_b: Int64[np.ndarray, " n"], seed: int
) -> Int64[np.ndarray, " n"]:
    """Return the unit of B for every unit of A, from the same cell if possible."""
    rng = np.random.default_rng(derive_seed(seed, RANDOM_STREAM))
    order_a, order_b = (rng.permutation(len(numbers)) for numbers in (cells_a, cells_b))
    keys_a, keys_b = _ranked(cells_a[order_a]), _ranked(cells_b[order_b])
    _, at_a, at_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    index = np.full(len(cells_a), -1, dtype=np.int64)
    index[order_a[at_a]] = order_b[at_b]
    remaining = np.setdiff1d(np.arange(len(cells_b)), index)
    index[index < 0] = rng.permutation(remaining)
    return index


def _ranked(cells: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return a unique key for every point: its cell and its rank within the cell."""
    order = np.argsort(cells, kind="stable")
    _, first, counts = np.unique(cells[order], return_index=True, return_counts=True)
    ranks = np.empty(len(cells), dtype=np.int64)
    ranks[order] = np.arange(len(cells)) - np.repeat(first, counts)
    return cells * len(cells) + ranks
