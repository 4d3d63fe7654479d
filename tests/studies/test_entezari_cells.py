"""Cell matching reproduces the rate of Theorem 3.1 for networks at initialization."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
import torch
from torch import nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin_studies.papers.entezari.cells import match_cells
from tests.matching.tiny import perceptron

WIDTHS = [2**6, 2**9, 2**12]
NUM_PAIRS = 8


def network(dimension: int, width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    uniform = 2 * torch.rand((width, dimension), generator=generator) - 1
    return {"0.weight": uniform / sqrt(dimension), "2.weight": torch.zeros(1, width)}


def model_of(dimension: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(dimension, width, bias=False), nn.ReLU(), nn.Linear(width, 1, bias=False)
    )


def gaps(dimension: int, widths, matched: bool) -> list[float]:
    """Return the RMS gap between the midpoint's outputs and the mean outputs, for each width.

    The mean over the outgoing weights, uniform in 1/sqrt(width), is exact, because the gap is
    linear in them. So few pairs of incoming weights suffice.
    """
    rms_gaps = []
    for width in widths:
        symmetry = infer_symmetry(model_of(dimension, width), torch.zeros(2, dimension))
        squares = []
        for seed in range(NUM_PAIRS):
            generator = torch.Generator().manual_seed(seed)
            a, b = (network(dimension, width, generator) for _ in range(2))
            permutation = (
                match_cells(symmetry, a, b, seed=seed).permutation
                if matched
                else Permutation.random(symmetry, seed=seed)
            )
            left, right = a["0.weight"], permutation.apply(b)["0.weight"]
            inputs = torch.randn(50, dimension, generator=generator)
            inputs *= sqrt(dimension) / inputs.norm(dim=1, keepdim=True)
            middle = (inputs @ (left + right).T / 2).relu()
            parts = [(middle - (inputs @ end.T).relu()) / 2 for end in (left, right)]
            squares.append(sum(float(part.square().sum(1).mean()) for part in parts) / (3 * width))
        rms_gaps.append(sqrt(float(np.mean(squares))))
    return rms_gaps


def slope(widths, errors) -> float:
    return float(np.polyfit([log(w) for w in widths], [log(e) for e in errors], 1)[0])


@pytest.mark.parametrize("dimension", [1, 2, 4, 8])
def test_gap_decreases_at_the_rate_of_the_theorem(dimension):
    assert slope(WIDTHS, gaps(dimension, WIDTHS, True)) < -1 / (2 * dimension + 4)


def test_gap_is_constant_without_matching():
    assert abs(slope(WIDTHS, gaps(2, WIDTHS, False))) < 0.01


def untrained(*sizes: int, seed: int):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = perceptron(*sizes)
    return model, dict(model.state_dict())


def test_number_of_units_in_shared_cells_is_maximal():
    (model, a), (_, b) = untrained(2, 300, 3, seed=0), untrained(2, 300, 3, seed=1)
    matching = match_cells(infer_symmetry(model, torch.zeros(2, 2)), a, b, cells=2)

    def cells(params):
        points = torch.cat((params["0.weight"], params["0.bias"][:, None]), 1)
        return ((points > 0) * torch.tensor([1, 2, 4])).sum(1)

    left, right = cells(a), cells(b)
    maximum = sum(min(int((left == c).sum()), int((right == c).sum())) for c in range(8))
    moved = cells(matching.permutation.apply(b))
    assert matching.objective == (int((left == right).sum()), maximum)
    assert int((left == moved).sum()) == maximum


def test_seed_orders_units_within_a_cell():
    (model, a), (_, b) = untrained(2, 50, 3, seed=0), untrained(2, 50, 3, seed=1)
    symmetry = infer_symmetry(model, torch.zeros(2, 2))
    first, same, other = (match_cells(symmetry, a, b, seed=seed) for seed in (1, 1, 2))
    assert first.permutation.equals(same.permutation)
    assert not first.permutation.equals(other.permutation)
    assert first.objective == other.objective


def test_many_inputs_give_a_single_cell():
    (model, a), (_, b) = untrained(784, 20, 3, seed=0), untrained(784, 20, 3, seed=1)
    assert match_cells(infer_symmetry(model, torch.zeros(2, 784)), a, b).objective == (20, 20)


def test_trained_networks_are_rejected():
    model, a = untrained(2, 50, 3, seed=0)
    b = {**a, "0.weight": 3 * a["0.weight"]}
    with pytest.raises(OneBasinError, match=r"'0.weight' of B has entries up to .* outside of"):
        match_cells(infer_symmetry(model, torch.zeros(2, 2)), a, b)


def test_deep_networks_are_rejected():
    model, a = untrained(2, 50, 50, 3, seed=0)
    with pytest.raises(OneBasinError, match=r"must have one hidden layer \(got 2 groups"):
        match_cells(infer_symmetry(model, torch.zeros(2, 2)), a, a)


def test_zero_cells_are_rejected():
    model, a = untrained(2, 50, 3, seed=0)
    with pytest.raises(OneBasinError, match="match_cells: cells is 0"):
        match_cells(infer_symmetry(model, torch.zeros(2, 2)), a, a, cells=0)
