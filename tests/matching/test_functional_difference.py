"""Functional difference: oracles for the differences, planted permutations, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinError, infer_symmetry
from onebasin.matching.functional_difference import (
    functional_differences,
    match_functional_difference,
    parallel_sum,
)
from tests.graph.networks import NETWORKS
from tests.matching.twins import twins


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def moments(size: int, seed: int) -> Tensor:
    x = random(50, size, seed=seed)
    return x.T @ x / len(x)


def test_parallel_sum_is_the_inverse_of_the_sum_of_inverses() -> None:
    a, b = moments(4, 1), moments(4, 2)
    expected = torch.linalg.inv(torch.linalg.inv(a) + torch.linalg.inv(b))
    torch.testing.assert_close(parallel_sum(a, b), expected)


def test_constant_inputs_have_no_effect() -> None:
    a, b = moments(4, 1), moments(4, 2)
    wide = [torch.zeros(6, 6, dtype=torch.float64) for _ in "ab"]
    for each, small in zip(wide, (a, b), strict=True):
        each[1:5, 1:5] = small
    torch.testing.assert_close(parallel_sum(*wide)[1:5, 1:5], parallel_sum(a, b))
    assert float(parallel_sum(*wide)[0].abs().max()) == 0


def test_difference_of_the_first_layer_matches_pre_activations() -> None:
    x = torch.cat((random(200, 3), torch.ones(200, 1, dtype=torch.float64)), 1)
    w_a, w_b = random(5, 4, seed=1), random(5, 4, seed=2)
    h = x.T @ x / len(x)
    z_a, z_b = x @ w_a.T, x @ w_b.T
    expected = (z_a[:, :, None] - z_b[:, None, :]).square().mean(0) / 4
    torch.testing.assert_close(functional_differences(w_a, w_b, h, h), expected)


@pytest.mark.parametrize("assignment", ["greedy", "optimal"])
@pytest.mark.parametrize("name", NETWORKS)
def test_planted_permutation_is_recovered(name: str, assignment: str) -> None:
    symmetry, model, a, b, batch = twins(name)
    result = match_functional_difference(
        symmetry, a, b, model=model, data=[batch, batch[:2]], assignment=assignment
    )
    moved = result.permutation.apply(b)
    assert all(torch.equal(moved[tensor], a[tensor]) for tensor in a)
    assert result.objective[1] > result.objective[0]
    assert result.objective[1] == pytest.approx(0.0, abs=1e-9)


def test_optimal_assignment_is_at_least_as_good_as_greedy_assignment() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nets = [nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 2)) for _ in "ab"]
    x = random(100, 6).float()
    symmetry = infer_symmetry(nets[0], x)
    a, b = (net.state_dict() for net in nets)
    values = [
        match_functional_difference(
            symmetry, a, b, model=nets[0], data=[x], assignment=choice
        ).objective[1]
        for choice in ("greedy", "optimal")
    ]
    assert values[0] < values[1]


@pytest.mark.parametrize("assignment", ["greedy", "optimal"])
@pytest.mark.parametrize("name", NETWORKS)
def test_indistinguishable_units_are_not_moved(name: str, assignment: str) -> None:
    symmetry, model, a, _, batch = twins(name)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in a.items()}
    result = match_functional_difference(
        symmetry, a, nothing, model=model, data=[batch], assignment=assignment
    )
    assert not any(result.permutation.num_moved.values())
    assert result.objective[0] == result.objective[1] < 0


def test_model_without_layers_is_rejected() -> None:
    net = nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3)).double()
    batch = torch.tensor([0, 1])
    with pytest.raises(
        OneBasinError, match=r"^match_functional_difference: the model has no supported linear"
    ):
        match_functional_difference(
            infer_symmetry(net, batch), net.state_dict(), net.state_dict(), model=net, data=[batch]
        )


class Backwards(nn.Module):
    """A model whose parts are named in another order than they are run."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last, self.first = nn.Linear(8, 16), nn.Linear(16, 2), nn.Embedding(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.hidden(self.first(x))))


def test_groups_without_a_layer_are_matched_before_their_readers() -> None:
    model, batch = Backwards(), torch.arange(9).repeat(4, 2)
    symmetry, a, b = infer_symmetry(model, batch), model.state_dict(), Backwards().state_dict()
    result = match_functional_difference(symmetry, a, b, model=model, data=[batch])
    assert result.objective[0] < result.objective[-1] < 0
