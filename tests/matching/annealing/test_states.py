"""Walks: the energy after every swap is that of the swapped networks, run in full."""

from __future__ import annotations

from itertools import combinations
from math import inf

import numpy as np
import pytest
import torch
from torch import nn

from onebasin import Permutation, infer_symmetry
from onebasin.matching._annealing import state as state_module
from onebasin.matching._annealing.evaluated import EvaluatedState, examples_of
from onebasin.matching._annealing.factory import energy_at, state_factory
from onebasin.matching._annealing.hidden_layer import HiddenLayer, HiddenLayerState
from onebasin.matching._annealing.layered import ChainTensors, LayeredState
from onebasin.matching._annealing.linear_chain import find_chain
from onebasin.matching._annealing.state import AnnealingState, columns_of, draw_steps
from tests.matching.tiny import perceptron, tiny


def problem(name, num_networks=2, averages="all", energy="loss"):
    """Return a function that makes a state of a kind from random indices, and the full energy."""
    model, symmetry, networks, data = tiny(name, num_networks)
    return Problem(model, symmetry, networks, data, averages, energy)


class Problem:
    def __init__(self, model, symmetry, networks, data, averages="all", energy="loss"):
        self.symmetry, self.networks = symmetry, networks
        count = len(networks)
        all_of_them = (tuple(range(count)),)
        self.mixtures = all_of_them if averages == "all" else tuple(combinations(range(count), 2))
        self.examples = examples_of(model, data, energy)
        self.columns = columns_of(symmetry, range(1, count))
        permutations = [Permutation.random(symmetry, seed=seed) for seed in range(count)]
        self.indices = tuple(dict(permutation.indices) for permutation in permutations)

    def full(self, indices) -> float:
        return energy_at(self.symmetry, self.networks, self.mixtures, self.examples, indices)

    def state(self, kind: type[AnnealingState] | None = None) -> AnnealingState:
        if kind is EvaluatedState:
            given = (self.symmetry, self.networks, self.indices, self.mixtures, self.examples)
            return EvaluatedState(*given)
        if kind is None:
            make = state_factory(self.symmetry, self.networks, self.mixtures, self.examples)
            return make(self.indices)
        chain = find_chain(self.symmetry, self.networks[0], self.examples)
        assert chain is not None
        tensors = ChainTensors.of(chain, self.networks)
        source = HiddenLayer.of(tensors) if kind is HiddenLayerState else tensors
        return kind(source, self.indices, self.mixtures, self.examples.energy)

    def steps(self, count, temperature=inf, move="every", seed=0):
        rng = np.random.default_rng(seed)
        return draw_steps(self.columns, np.full(count, temperature), rng, move)


KINDS = [
    (HiddenLayerState, "one layer"),
    (LayeredState, "one layer"),
    (LayeredState, "two layers"),
    (LayeredState, "three layers"),
    (EvaluatedState, "three layers"),
    (EvaluatedState, "heads"),
    (EvaluatedState, "square"),
    (EvaluatedState, "convolution"),
]


@pytest.mark.parametrize(
    ("num_networks", "averages", "energy"),
    [(2, "all", "loss"), (4, "all", "error"), (4, "pairs", "loss")],
)
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_proposed_energies_match_the_networks(kind, name, num_networks, averages, energy):
    given = problem(name, num_networks, averages, energy)
    state = given.state(kind)
    assert state.energy == pytest.approx(given.full(state.indices), abs=1e-6)
    for move in ("every", "one"):
        steps = given.steps(2, move=move)
        for number in range(len(steps)):
            before, stood = state.indices, state.energy
            proposed = state.propose(steps.at(number))
            assert state.energy == stood
            assert all(
                torch.equal(left[group], right[group])
                for left, right in zip(before, state.indices, strict=True)
                for group in left
            )
            state.accept()
            state.energy = proposed
            assert proposed == pytest.approx(given.full(state.indices), abs=1e-6)


@pytest.mark.parametrize(("kind", "name", "count"), [
    (HiddenLayerState, "one layer", 10_000),
    (LayeredState, "two layers", 500),
])  # fmt: skip
def test_energies_stay_exact_over_many_steps(kind, name, count, monkeypatch):
    monkeypatch.setattr(state_module, "REFRESH", 10**9)
    given = problem(name, 3, "pairs")
    state = given.state(kind)
    state.run(given.steps(count))
    assert state.num_accepted == count
    assert state.energy == pytest.approx(given.full(state.indices), abs=1e-5)
    assert state.best_energy == pytest.approx(given.full(state.best_indices), abs=1e-5)
    assert state.best_energy < state.energy


def test_energies_stay_exact_over_many_steps_of_a_wide_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = [perceptron(20, 200, 10) for _ in range(2)]
        inputs, labels = 3 * torch.randn(1111, 20), torch.randint(10, (1111,))
    symmetry = infer_symmetry(models[0], inputs[:2])
    networks = [{n: 3 * t for n, t in model.state_dict().items()} for model in models]
    given = Problem(models[0], symmetry, networks, [(inputs, labels)])
    state = given.state()
    assert isinstance(state, HiddenLayerState)
    for seed in range(5):
        state.run(given.steps(2000, temperature=0.05, seed=seed))
    assert state.num_accepted > 2000
    assert state.energy == pytest.approx(given.full(state.indices), abs=1e-5)


@pytest.mark.parametrize("energy", ["loss", "error"])
def test_compiled_and_layered_states_accept_the_same_swaps(energy):
    given = problem("one layer", 3, "pairs", energy)
    states = [given.state(kind) for kind in (HiddenLayerState, LayeredState, EvaluatedState)]
    for state in states:
        state.run(given.steps(100, temperature=0.05))
    first, *others = states
    for other in others:
        assert other.num_accepted == first.num_accepted
        assert other.best_energy == pytest.approx(first.best_energy, abs=1e-6)
        for left, right in zip(first.indices, other.indices, strict=True):
            assert all(torch.equal(left[group], right[group]) for group in left)


def test_annealing_at_zero_temperature_only_decreases_the_energy():
    given = problem("one layer")
    state = given.state()
    start = state.energy
    state.run(given.steps(200, temperature=1e-12))
    assert state.energy == state.best_energy < start


def refresh_count(state: AnnealingState, monkeypatch) -> list[int]:
    calls: list[int] = []
    refresh = state.refresh
    monkeypatch.setattr(state, "refresh", lambda: (calls.append(1), refresh()))
    return calls


@pytest.mark.parametrize(("kind", "name"), KINDS[:3])
def test_energies_are_refreshed_after_many_corrections(kind, name, monkeypatch):
    monkeypatch.setattr(state_module, "REFRESH", 10)
    given = problem(name)
    state = given.state(kind)
    calls = refresh_count(state, monkeypatch)
    state.run(given.steps(9))
    assert not calls
    state.run(given.steps(9))
    assert calls == [1]
    assert state.energy == pytest.approx(given.full(state.indices), abs=1e-6)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.randn(5, 3), torch.randn(3, 5)])

    def forward(self, x):
        hidden = nn.functional.linear(x.flatten(1), self.weights[0]).relu()
        return nn.functional.linear(nn.functional.dropout(hidden, training=False), self.weights[1])


def chained(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), *between, nn.Linear(5, 3))


CHAINS = {
    "functional": Functional(),
    "dropout": chained(nn.ReLU(inplace=True), nn.Dropout()),
    "normalized inputs": nn.Sequential(nn.Softmax(1), *perceptron(3, 5, 3)),
    "no bias": nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)),
}
OTHERS = {
    "tanh": chained(nn.Tanh()),
    "linear only": chained(),
    "scaled outputs": nn.Sequential(*perceptron(3, 5, 3), nn.Softmax(1)),
    "batch norm": chained(nn.BatchNorm1d(5), nn.ReLU()),
    "weight norm": nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 5)), nn.ReLU(), nn.Linear(5, 3)
    ),
    "convolution": nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 3), nn.Flatten(),
                                 nn.ReLU(), nn.Linear(4, 3)),
}  # fmt: skip


def found_chain(model: nn.Module):
    inputs, labels = torch.randn(7, 3), torch.randint(3, (7,))
    # A last batch of one example is doubled for the graph.
    examples = examples_of(
        model.eval(), [(inputs[:6], labels[:6]), (inputs[6:], labels[6:])], "loss"
    )
    params = dict(model.state_dict())
    return find_chain(infer_symmetry(model, inputs[:2]), params, examples), inputs


@pytest.mark.parametrize("name", CHAINS)
def test_linear_chains_are_recognized(name):
    chain, inputs = found_chain(CHAINS[name])
    assert chain is not None
    assert [layer.group is None for layer in chain.layers] == [False, True]
    assert len(chain.inputs) == len(inputs) == len(chain.labels)


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_not_linear_chains(name):
    assert found_chain(OTHERS[name])[0] is None
