"""Weight matching: planted permutations come back, the objective rises, bad input is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, permutations

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinError, Permutation, Symmetry, infer_symmetry
from onebasin.matching import assign, match_weights
from tests.matching.problems import NETWORKS, best_of_one_layer, one_layer, unrelated, weights


def network(name: str, seed: int = 0) -> tuple[Symmetry, dict[str, Tensor]]:
    return unrelated(name).symmetry, weights(name, seed)


def assert_same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    different = [name for name in right if not torch.equal(left[name], right[name])]
    assert not different, f"these tensors differ: {different}"


def inner_product(symmetry: Symmetry, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    names = [name for name in symmetry.layouts if name not in symmetry.buffers]
    return sum(float((a[name].double() * b[name].double()).sum()) for name in names)


def test_helper_detects_a_wrong_result():
    with pytest.raises(AssertionError, match="differ"):
        assert_same({"x": torch.zeros(2)}, {"x": torch.ones(2)})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETWORKS)
def test_planted_permutation_is_recovered(name, seed):
    symmetry, a = network(name)
    b = Permutation.random(symmetry, seed=seed).apply(a)
    matching = match_weights(symmetry, a, b, seed=seed, restarts=4)
    assert_same(matching.permutation.apply(b), a)
    assert matching.converged


@pytest.mark.parametrize("name", NETWORKS)
def test_objective_increases_to_the_inner_product(name):
    (symmetry, a), (_, b) = network(name), network(name, seed=1)
    matching = match_weights(symmetry, a, b, restarts=2)
    assert matching.objective[0] == pytest.approx(inner_product(symmetry, a, b), rel=1e-9) or (
        matching.restarts[0] < matching.objective[-1]
    )
    assert all(late >= early for early, late in pairwise(matching.objective))
    result = inner_product(symmetry, a, matching.permutation.apply(b))
    assert matching.objective[-1] == pytest.approx(result, rel=1e-5)
    assert result > inner_product(symmetry, a, b)


@pytest.mark.parametrize("size", [2, 4, 6])
def test_one_group_matches_exhaustive_search(size):
    problem = one_layer(size)
    result = match_weights(problem.symmetry, problem.a, problem.b)
    assert result.objective[-1] == pytest.approx(best_of_one_layer(problem), rel=1e-6)


def test_quadratic_group_never_gets_worse():
    (symmetry, a), (_, b) = network("square"), network("square", seed=3)
    for seed in range(5):
        init = Permutation.random(symmetry, seed=seed)
        matching = match_weights(symmetry, a, b, init=init)
        assert matching.objective[0] == pytest.approx(inner_product(symmetry, a, init.apply(b)))
        assert matching.objective[-1] >= matching.objective[0]


def test_same_seed_gives_the_same_result():
    (symmetry, a), (_, b) = network("attention"), network("attention", seed=1)
    first, second = (match_weights(symmetry, a, b, seed=5, restarts=3) for _ in range(2))
    assert first.objective == second.objective
    assert_same(first.permutation.indices, second.permutation.indices)


def test_inputs_are_not_changed():
    (symmetry, a), (_, b) = network("grouped"), network("grouped", seed=1)
    before = [{name: tensor.clone() for name, tensor in params.items()} for params in (a, b)]
    match_weights(symmetry, a, b)
    assert_same(a, before[0])
    assert_same(b, before[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_matched_in_float32(dtype):
    symmetry, a = network("perceptron")
    a = {name: tensor.to(dtype) for name, tensor in a.items()}
    b = Permutation.random(symmetry, seed=2).apply(a)
    assert_same(match_weights(symmetry, a, b).permutation.apply(b), a)


class Lazy(Mapping):
    """A mapping that reads a tensor each time, and counts."""

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        self.params, self.reads = params, 0

    def __getitem__(self, name: str) -> Tensor:
        self.reads += 1
        return self.params[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)


def test_lazy_mappings_are_supported():
    symmetry, a = network("attention")
    b = Lazy(Permutation.random(symmetry, seed=2).apply(a))
    assert_same(match_weights(symmetry, Lazy(a), b).permutation.apply(b.params), a)
    assert b.reads <= 8 * len(b)


def test_progress_is_reported_for_every_group():
    (symmetry, a), (_, b) = network("perceptron"), network("perceptron", seed=1)
    steps = []
    match_weights(symmetry, a, b, progress=steps.append)
    assert {step.group for step in steps} == set(symmetry.groups)
    assert all(late.objective >= early.objective for early, late in pairwise(steps))


def test_too_few_sweeps_do_not_converge():
    (symmetry, a), (_, b) = network("perceptron"), network("perceptron", seed=1)
    init = Permutation.random(symmetry, seed=1)
    matching = match_weights(symmetry, a, b, max_sweeps=1, init=init)
    assert (matching.num_sweeps, matching.converged) == (1, False)


def test_no_groups_give_the_identity():
    model = nn.Linear(3, 2)
    symmetry = infer_symmetry(model, torch.zeros(2, 3))
    matching = match_weights(symmetry, model.state_dict(), model.state_dict())
    assert matching.converged
    assert matching.permutation.indices == {}


def broken(**changes: Tensor | None) -> tuple[Symmetry, dict[str, Tensor], dict[str, Tensor]]:
    symmetry, a = network("perceptron")
    b = {**a, **changes}
    return symmetry, a, {name: tensor for name, tensor in b.items() if tensor is not None}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"tensor '2.weight' of the symmetry is missing in B"),
        (torch.zeros(3, 3), r"tensor '2.weight' is \(3, 3\) in B but \(16, 16\)"),
        (torch.full((16, 16), float("nan")), r"tensor '2.weight' of B has NaN or infinite entries"),
        (torch.full((16, 16), float("inf")), r"tensor '2.weight' of B has NaN or infinite entries"),
        (torch.zeros(16, 16, dtype=torch.int8), r"tensor '2.weight' of B is torch.int8"),
        (torch.zeros(16, 16, dtype=torch.complex64), r"tensor '2.weight' of B is torch.complex64"),
        (torch.zeros(16, 16, device="meta"), r"tensor '2.weight' of B is on the meta device"),
    ],
)
def test_bad_tensors_are_rejected(value, message):
    with pytest.raises(OneBasinError, match=message):
        match_weights(*broken(**{"2.weight": value}))


def test_counts_below_one_are_rejected():
    symmetry, a, b = broken()
    with pytest.raises(OneBasinError, match="is 0; it must be a whole number of at least 1"):
        match_weights(symmetry, a, b, max_sweeps=0)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_assignments_are_optimal(size):
    similarity = torch.randn(size, size, generator=torch.Generator().manual_seed(size))
    best = max(
        sum(float(similarity[i, j]) for i, j in enumerate(order))
        for order in permutations(range(size))
    )
    result = similarity[torch.arange(size), assign(similarity)].sum()
    assert float(result) == pytest.approx(best, abs=1e-5)
