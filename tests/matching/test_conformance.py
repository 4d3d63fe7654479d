"""Conformance of all matchers on every kind of symmetry.

Add a new matcher to `MATCHERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from inspect import signature
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from onebasin import OneBasinError, Permutation
from onebasin.matching import (
    ManyMatching,
    Matching,
    assign,
    match_annealing,
    match_combined,
    match_commutativity,
    match_cycle_consistent,
    match_exhaustive,
    match_frank_wolfe,
    match_functional_difference,
    match_many,
    match_many_annealing,
    match_sinkhorn,
    match_straight_through,
    match_weights,
)
from onebasin.matching.activations import match_activations
from onebasin.symmetry import Symmetry
from tests.matching.problems import NETWORKS, Problem, planted, unrelated

SEED = 3
EVERYWHERE = frozenset(NETWORKS)


def unmoved(problem: Problem) -> Permutation:
    return Permutation.identity(problem.symmetry)


def matched_by_weights(problem: Problem) -> Permutation:
    return match_weights(problem.symmetry, problem.a, problem.b, seed=SEED).permutation


@dataclass(frozen=True)
class Matcher:
    """A matcher with its options and expected properties.

    Args:
        function: called with a symmetry, A and B, or a list of networks.
        options: what it is called with here.
        runs: whether it takes model and data.
        loses: whether it takes a loss, too.
        many: whether it takes a list of networks.
        exact: the networks on which it finds a planted permutation to the last unit.
        value: its objective, computed without it.
        begins: the permutation that it must beat.
        seeded: whether it takes a seed.
        tiny: whether it looks at so many permutations that networks must be tiny.
    """

    function: Callable[..., Any]
    options: Mapping[str, Any]
    runs: bool = False
    loses: bool = False
    many: bool = False
    exact: frozenset[str] = EVERYWHERE
    value: Callable[[Problem, Permutation], float] | None = Problem.inner_product
    begins: Callable[[Problem], Permutation] = unmoved
    seeded: bool = True
    tiny: bool = False

    def planted(self, network: str) -> Problem:
        return planted(f"tiny {network}" if self.tiny else network)

    def unrelated(self, network: str) -> Problem:
        return unrelated(f"tiny {network}" if self.tiny else network)

    def __call__(self, problem: Problem, **changes: Any) -> Matching | ManyMatching:
        params = [problem.a, problem.b]
        given = dict(self.options) | ({"seed": SEED} if self.seeded else {})
        if self.runs:
            given |= {"model": problem.model, "data": problem.data}
        if self.loses:
            given |= {"model": problem.model, "data": problem.outputs, "loss": "mse"}
        given |= changes
        return self.function(problem.symmetry, *([params] if self.many else params), **given)


def minus_midpoint_loss(problem: Problem, permutation: Permutation) -> float:
    return -problem.midpoint_loss(permutation)


def minus_cross_entropy(problem: Problem, permutation: Permutation) -> float:
    return -problem.midpoint_cross_entropy(permutation)


NOWHERE: frozenset[str] = frozenset()

MATCHERS: dict[str, Matcher] = {
    "weights": Matcher(match_weights, {"restarts": 2}),
    "activations": Matcher(
        match_activations, {"position": "pre"}, runs=True, value=None, seeded=False
    ),
    "combined": Matcher(match_combined, {"position": "pre"}, runs=True, value=None),
    "functional-difference": Matcher(
        match_functional_difference, {}, runs=True, value=None, seeded=False
    ),
    "commutativity": Matcher(match_commutativity, {}, runs=True, value=None),
    "straight-through": Matcher(
        match_straight_through,
        {"max_epochs": 1},
        loses=True,
        value=minus_midpoint_loss,
        begins=matched_by_weights,
    ),
    "sinkhorn": Matcher(match_sinkhorn, {"max_steps": 25}),
    "sinkhorn-midpoint": Matcher(
        match_sinkhorn, {"max_steps": 25}, loses=True, value=minus_midpoint_loss, exact=NOWHERE
    ),
    "frank-wolfe": Matcher(match_frank_wolfe, {"polish": False}),
    "annealing": Matcher(
        match_annealing,
        {"steps": 100},
        runs=True,
        value=minus_cross_entropy,
        tiny=True,
        exact=EVERYWHERE - {"residual"},
    ),
    "annealing-many": Matcher(
        match_many_annealing,
        {"steps": 100, "move": "one"},
        runs=True,
        many=True,
        value=minus_cross_entropy,
        tiny=True,
        exact=EVERYWHERE - {"residual", "perceptron"},
    ),
    "exhaustive": Matcher(match_exhaustive, {}, seeded=False, tiny=True),
    "many": Matcher(match_many, {}, many=True),
    "cycle-consistent": Matcher(match_cycle_consistent, {}, many=True),
}


def permutation_of(matching: Matching | ManyMatching) -> Permutation:
    if isinstance(matching, Matching):
        return matching.permutation
    first, second = matching.permutations
    assert not any(first.num_moved.values()), "the first network must stay where it is"
    return second


def assert_same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in right if not torch.equal(left[name], right[name])]
    assert not different, f"these tensors differ: {different}"


def assert_rises(matching: Matching | ManyMatching) -> None:
    rounding = 1e-6 * max(map(abs, matching.objective))
    falls = [
        late - early for early, late in pairwise(matching.objective) if late < early - rounding
    ]
    assert not falls, f"the objective falls by {falls}"


def test_helpers_detect_wrong_results() -> None:
    with pytest.raises(AssertionError, match="differ"):
        assert_same({"x": torch.zeros(2)}, {"x": torch.ones(2)})
    permutation = Permutation.identity(planted("square").symmetry)
    with pytest.raises(AssertionError, match="the objective falls"):
        assert_rises(Matching(permutation, (2.0, 1.0), True, 1, 1, 0.0))


@cache
def match_planted(name: str, network: str) -> tuple[Matching | ManyMatching, list[Any]]:
    """Return the matching, and what was reported of its progress."""
    steps: list[Any] = []
    problem = MATCHERS[name].planted(network)
    return MATCHERS[name](problem, progress=steps.append), steps


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", MATCHERS)
def test_planted_permutation_is_recovered(name: str, network: str) -> None:
    matcher = MATCHERS[name]
    matching, _ = match_planted(name, network)
    assert_recovered(matcher, network, matcher.planted(network), matching)


def assert_recovered(
    matcher: Matcher, network: str, problem: Problem, matching: Matching | ManyMatching
) -> None:
    permutation = permutation_of(matching)
    assert_rises(matching)
    if network in matcher.exact:
        assert_same(permutation.apply(problem.b), problem.a)
    else:
        sizes = [group.size for group in problem.symmetry.groups.values()]
        chance = len(sizes) / sum(sizes)
        assert problem.share_in_place(permutation) > chance
        assert matching.objective[-1] > matching.objective[0]


@cache
def match_unrelated(name: str, network: str) -> Matching | ManyMatching:
    return MATCHERS[name](MATCHERS[name].unrelated(network))


# One of each kind: flat groups, nested ones, and one on both sides of a matrix.
@pytest.mark.parametrize("network", ["perceptron", "attention", "square"])
@pytest.mark.parametrize("name", MATCHERS)
def test_objective_increases_and_equals_its_definition(name: str, network: str) -> None:
    matcher = MATCHERS[name]
    problem = matcher.unrelated(network)
    matching = match_unrelated(name, network)
    permutation = permutation_of(matching)
    assert_rises(matching)
    assert max(matching.restarts) == matching.objective[-1]
    if matcher.value is not None:
        result = matcher.value(problem, permutation)
        assert matching.objective[-1] == pytest.approx(result, rel=1e-4)
        begun = matcher.value(problem, matcher.begins(problem))
        assert result > begun or (matcher.loses and result == begun)


@pytest.mark.parametrize("name", MATCHERS)
def test_same_seed_gives_the_same_result(name: str) -> None:
    first = match_unrelated(name, "attention")
    second = MATCHERS[name](MATCHERS[name].unrelated("attention"))
    assert first.objective == second.objective
    assert permutation_of(first).equals(permutation_of(second))


@pytest.mark.parametrize("name", MATCHERS)
def test_inputs_are_not_changed(name: str) -> None:
    problem = MATCHERS[name].unrelated("residual")
    kept = [problem.a, problem.b, problem.model.state_dict()]
    kept += [{"inputs": inputs, "labels": labels} for inputs, labels in problem.outputs]
    before = [{n: tensor.clone() for n, tensor in params.items()} for params in kept]
    problem.model.train()
    MATCHERS[name](problem)
    assert all(module.training for module in problem.model.modules())
    problem.model.eval()
    assert all(p.grad is None for p in problem.model.parameters())
    assert not any(tensor.requires_grad for params in kept[:2] for tensor in params.values())
    for now, then in zip(kept, before, strict=True):
        assert_same(now, then)


@pytest.mark.parametrize("name", MATCHERS)
def test_progress_is_reported(name: str) -> None:
    _, steps = match_planted(name, "square")
    assert steps
    assert all(0 < step.done <= step.total for step in steps)


@pytest.mark.parametrize("name", MATCHERS)
def test_network_of_another_architecture_is_rejected(name: str) -> None:
    matcher = MATCHERS[name]
    problem, other = matcher.planted("perceptron"), matcher.unrelated("square")
    wrong = Problem(problem.symmetry, problem.model, problem.a, other.b, problem.data,
                    problem.outputs)  # fmt: skip
    with pytest.raises(OneBasinError, match=r"tensor 'a.weight' of (B|network 2) is not in the"):
        matcher(wrong)
    broken = dict(problem.b) | {"2.bias": torch.full_like(problem.b["2.bias"], float("nan"))}
    wrong = Problem(problem.symmetry, problem.model, problem.a, broken, problem.data,
                    problem.outputs)  # fmt: skip
    with pytest.raises(OneBasinError, match=r"tensor '2.bias' of (B|network 2) has NaN") as raised:
        matcher(wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", MATCHERS)
def test_checkpoints_of_higher_precision_than_model_and_data_are_matched(name: str) -> None:
    matcher = MATCHERS[name]
    problem = matcher.planted("perceptron")
    a, b = ({n: t.double() for n, t in params.items()} for params in (problem.a, problem.b))
    higher = replace(problem, a=a, b=b)
    assert_recovered(matcher, "perceptron", higher, matcher(higher))


def begins(name: str) -> bool:
    return "init" in signature(MATCHERS[name].function).parameters


@pytest.mark.parametrize("name", [*filter(begins, MATCHERS)])
def test_search_starts_from_init(name: str) -> None:
    matcher = MATCHERS[name]
    problem = matcher.planted("attention")
    back = problem.planted.inverse() if problem.planted else None
    first = Permutation.identity(problem.symmetry)
    init = [first, back] if matcher.many else back
    matching = matcher(problem, init=init)
    assert_same(permutation_of(matching).apply(problem.b), problem.a)
    assert matching.objective[0] == pytest.approx(matching.objective[-1], rel=1e-6)


@pytest.mark.parametrize("name", [*filter(begins, MATCHERS)])
def test_init_of_another_symmetry_is_rejected(name: str) -> None:
    matcher = MATCHERS[name]
    problem = matcher.planted("perceptron")
    other = Permutation.identity(planted("square").symmetry)
    with pytest.raises(OneBasinError, match="init belongs to another symmetry"):
        matcher(problem, init=[other, other] if matcher.many else other)


def weighs(name: str) -> bool:
    return MATCHERS[name].value is Problem.inner_product


@pytest.mark.parametrize("name", [*filter(weighs, MATCHERS)])
def test_counterexample_to_a_single_pass_of_the_paper(name: str) -> None:
    """Git Re-Basin, appendix A.7.2: matching both layers swaps them, in either order."""
    spec = {"w1": ("one", None), "w2": ("two", "one"), "w3": (None, "two")}
    w1, epsilon = torch.tensor([[1.0], [1.1]]), 0.1
    a = {"w1": w1, "w2": torch.diag(torch.tensor([1.0, epsilon])), "w3": torch.tensor([[1.0, 0.0]])}
    b = {"w1": w1, "w2": torch.diag(torch.tensor([0.0, 1.0])), "w3": torch.tensor([[0.0, 1.0]])}
    problem = Problem(Symmetry.from_spec(spec, a), torch.nn.Identity(), a, b, [], [])
    greedy = assign(a["w1"] @ b["w1"].T)
    assert greedy.tolist() == [0, 1], "the first layer alone has no reason to swap"
    for seed in range(6):
        changes = {"seed": seed} if MATCHERS[name].seeded else {}
        result = permutation_of(MATCHERS[name](problem, **changes)).indices
        assert {group: index.tolist() for group, index in result.items()} == {
            "one": [1, 0],
            "two": [1, 0],
        }
