"""Commutativity: the sum is what its definition says, falls, and vanishes for a permuted twin."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.matching import match_weights
from onebasin.matching.activations import match_activations
from onebasin.matching.commutativity import match_commutativity
from tests.graph.networks import NETWORKS
from tests.matching.twins import strangers, twins


@pytest.mark.parametrize("name", NETWORKS)
def test_permuted_copy_commutes_and_computes_the_same_function(name: str) -> None:
    symmetry, model, a, b, batch = twins(name)
    result = match_commutativity(symmetry, a, b, model=model, data=[batch])
    assert result.objective[-1] == pytest.approx(0.0, abs=1e-12)
    expected = model(batch)
    model.load_state_dict(result.permutation.apply(b))
    torch.testing.assert_close(model(batch), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_sum_decreases_below_that_of_its_starts(name: str) -> None:
    symmetry, model, a, b, batch = strangers(name)
    result = match_commutativity(symmetry, a, b, model=model, data=[batch])
    assert list(result.objective) == sorted(result.objective)
    assert result.objective[-1] == max(result.restarts)
    starts = [
        match_weights(symmetry, a, b).permutation,
        match_activations(symmetry, a, b, model=model, data=[batch]).permutation,
    ]
    for number, start in enumerate(starts):
        alone = match_commutativity(symmetry, a, b, model=model, data=[batch], init=start)
        assert alone.objective[-1] == pytest.approx(result.restarts[number], rel=1e-2)
        assert alone.objective[0] <= result.objective[-1]


def relative_sum(batch: Tensor, a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the sum of a network with one hidden layer, by its definition."""
    hidden = [torch.relu(batch @ p["0.weight"].T + p["0.bias"]) for p in (a, b)]
    difference = (hidden[0] - hidden[1]) @ (a["2.weight"] - b["2.weight"]).T
    outputs = [(h @ p["2.weight"].T).square().sum() for h, p in zip(hidden, (a, b), strict=True)]
    return float(difference.square().sum() / (sum(outputs) / 2))


def test_sum_matches_the_definition() -> None:
    symmetry, model, a, b, batch = strangers("mlp")
    result = match_commutativity(symmetry, a, b, model=model, data=[batch[:4], batch[4:]])
    expected = relative_sum(batch, a, result.permutation.apply(b))
    assert -result.objective[-1] == pytest.approx(expected)


def test_result_is_close_to_exhaustive_search() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        nets = [nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double() for _ in "ab"]
        batch = torch.randn(50, 3, dtype=torch.float64)
    symmetry = infer_symmetry(nets[0], batch)
    a, b = (net.state_dict() for net in nets)
    orders = (torch.tensor(order) for order in permutations(range(5)))
    moves = (Permutation(symmetry, dict.fromkeys(symmetry.groups, order)) for order in orders)
    sums = sorted(relative_sum(batch, a, move.apply(b)) for move in moves)
    result = match_commutativity(symmetry, a, b, model=nets[0], data=[batch])
    assert sums[0] - 1e-12 <= -result.objective[-1] <= sums[2]


def test_same_seed_gives_the_same_result() -> None:
    symmetry, model, a, b, batch = strangers("conv_net")
    runs = [match_commutativity(symmetry, a, b, model=model, data=[batch], seed=2) for _ in "12"]
    assert runs[0].objective == runs[1].objective
    for name, index in runs[0].permutation.indices.items():
        assert torch.equal(index, runs[1].permutation.indices[name])


def test_model_without_layers_is_rejected() -> None:
    net = nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3)).double()
    symmetry = infer_symmetry(net, torch.tensor([0, 1]))
    with pytest.raises(OneBasinError, match="no supported linear or convolutional layer"):
        match_commutativity(
            symmetry, net.state_dict(), net.state_dict(), model=net, data=[torch.tensor([0, 1])]
        )


def test_invalid_starts_and_sweeps_are_rejected() -> None:
    model, other = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), nn.Linear(3, 2)
    batch = torch.randn(10, 3)
    symmetry, params = infer_symmetry(model, batch), model.state_dict()
    foreign = Permutation.identity(infer_symmetry(other, batch))
    match = partial(match_commutativity, symmetry, params, model=model, data=[batch])
    with pytest.raises(OneBasinError, match=r"^match_commutativity: init belongs to another"):
        match(params, init=foreign)
    with pytest.raises(OneBasinError, match=r"^match_commutativity: max_sweeps is 0; it must"):
        match(params, max_sweeps=0)
    with pytest.raises(OneBasinError, match=r"^match_commutativity: tensor 'more' of B"):
        match({**params, "more": batch})
