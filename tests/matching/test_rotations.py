"""Matching by all maps of a symmetry recovers random elements of every class."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from onebasin import OneBasinError, infer_symmetry
from onebasin.matching import match_learned, match_many_rotations, match_rotations, match_weights
from onebasin.symmetry.transformation import Transformation
from tests.symmetry.classes.checks import Case
from tests.symmetry.classes.modules import hidden, stream
from tests.symmetry.classes.test_classes import MODULES, VECTORS

TOLERANCE = 1e-5


def distance(left: dict[str, Any], right: dict[str, Any]) -> float:
    """Return the largest difference of a tensor, relative to its size."""
    pairs = [(left[name].double(), right[name].double()) for name in left]
    return max(float((a - b).norm() / b.norm().clamp(min=1e-9)) for a, b in pairs)


BEYOND_PERMUTATIONS = [
    name for name, (_, _, classes) in MODULES.items() if set(classes) != {"permutation"}
]


@pytest.mark.parametrize("name", BEYOND_PERMUTATIONS)
def test_random_element_is_recovered(name: str) -> None:
    build, inputs, _ = MODULES[name]
    case = Case(build(), inputs)
    b = Transformation.random(case.symmetry, seed=3).apply(case.params)
    matching = match_rotations(case.symmetry, case.params, b)
    aligned = matching.transformation.apply(b)
    assert distance(aligned, case.params) < TOLERANCE
    assert all(late >= early for early, late in pairwise(matching.objective))


def networks(seed: int, norm: Any = lambda: nn.RMSNorm(6)) -> tuple[Any, nn.Module, Any, Any]:
    """Return the symmetry of a residual stream, a module and two unrelated networks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, other = stream(norm), stream(norm)
    return infer_symmetry(module, VECTORS), module, module.state_dict(), other.state_dict()


def test_function_of_b_does_not_change() -> None:
    symmetry, module, a, b = networks(0)
    moved = match_rotations(symmetry, a, b).transformation.apply(b)
    before, after = (torch.func.functional_call(module, p, VECTORS) for p in (b, moved))
    assert torch.allclose(before, after, atol=1e-5)


def test_rotations_are_closer_than_permutations() -> None:
    symmetry, _, a, b = networks(1)

    def squared_distance(moved: Any) -> float:
        return sum(float((a[name] - moved[name]).square().sum()) for name in a)

    rotated = match_rotations(symmetry, a, b).transformation.apply(b)
    permuted = match_weights(symmetry, a, b).permutation.apply(b)
    assert squared_distance(rotated) < 0.8 * squared_distance(permuted)


def test_search_with_data_starts_from_features() -> None:
    symmetry, module, a, _ = networks(2)
    b = Transformation.random(symmetry, seed=4).apply(a)
    matching = match_rotations(symmetry, a, b, model=module, data=[VECTORS])
    assert distance(matching.transformation.apply(b), a) < TOLERANCE * 10
    assert matching.objective[0] == pytest.approx(matching.objective[-1], rel=1e-4)


def test_same_seed_gives_the_same_result() -> None:
    symmetry, _, a, b = networks(3, lambda: nn.LayerNorm(6))
    first, second = (match_rotations(symmetry, a, b, seed=5) for _ in range(2))
    assert first.objective == second.objective
    for name, value in first.transformation.maps.items():
        assert torch.equal(value, second.transformation.maps[name])


def test_gain_of_zero_restricts_a_group_to_permutations() -> None:
    symmetry, _, a, b = networks(4)
    b = {**b, "norm.weight": torch.tensor([0.0, 1, 1, 1, 1, 1])}
    transformation = match_rotations(symmetry, a, b).transformation
    assert not transformation.maps
    assert transformation.apply(b).keys() == b.keys()


def test_permutation_matching_does_not_scale_units() -> None:
    symmetry, _, a, b = networks(5)
    assert match_weights(symmetry, a, b).transformation.only_permutes


def test_data_without_a_model_are_rejected() -> None:
    symmetry, _, a, b = networks(6)
    with pytest.raises(OneBasinError, match="pass model="):
        match_rotations(symmetry, a, b, data=[VECTORS])


def test_several_networks_become_equal() -> None:
    symmetry, _, a, _ = networks(7)
    others = [Transformation.random(symmetry, seed=seed).apply(a) for seed in (1, 2)]
    matching = match_many_rotations(symmetry, [a, *others])
    assert matching.transformations[0].only_permutes
    for moved in matching.apply([a, *others]):
        assert distance(moved, a) < TOLERANCE * 10


LABELS = torch.tensor([0, 1, 2, 1])


def midpoint_loss(module: nn.Module, a: Any, b: Any) -> float:
    mean = {name: (a[name] + b[name]) / 2 for name in a}
    return float(F.cross_entropy(torch.func.functional_call(module, mean, VECTORS), LABELS))


@pytest.mark.parametrize("ends", ["one", "both"])
@pytest.mark.parametrize("targets", ["labels", "outputs"])
def test_training_reduces_the_loss_at_the_midpoint(ends: Any, targets: Any) -> None:
    symmetry, module, a, b = networks(8)
    data = [(VECTORS, LABELS)] * 20
    matching = match_learned(
        symmetry, a, b, model=module, data=data, targets=targets, ends=ends, learning_rate=0.03
    )
    assert matching.objective[-1] > matching.objective[0]
    moved = matching.transformation.apply(b)
    before, after = (torch.func.functional_call(module, p, VECTORS) for p in (b, moved))
    assert torch.allclose(before, after, atol=1e-4)
    if targets == "labels":
        reached = -midpoint_loss(module, a, moved)
        assert matching.objective[-1] == pytest.approx(reached, rel=1e-4)


def test_training_starts_from_init() -> None:
    symmetry, module, a, _ = networks(9)
    element = Transformation.random(symmetry, seed=1)
    b, init = element.apply(a), element.inverse()
    data = [(VECTORS, torch.func.functional_call(module, a, VECTORS).argmax(-1))]
    matching = match_learned(
        symmetry, a, b, model=module, data=data, init=init, learning_rate=1e-9, epochs=1
    )
    assert distance(matching.transformation.apply(b), a) < TOLERANCE


def test_training_without_labels_needs_the_outputs_as_loss() -> None:
    symmetry, module, a, b = networks(10)
    with pytest.raises(OneBasinError, match="no labels"):
        match_learned(symmetry, a, b, model=module, data=[VECTORS])


def test_units_are_permuted_during_training() -> None:
    """Two units are exchanged at the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = hidden(lambda m, x: F.gelu(x))
    symmetry, a = infer_symmetry(module, VECTORS), module.state_dict()
    (name,) = symmetry.groups
    identity = Transformation.identity(symmetry)
    index = torch.tensor([1, 0, 2, 3, 4, 5])
    b = {key: value.clone() for key, value in a.items()}
    b["first.weight"], b["first.bias"] = a["first.weight"][index], a["first.bias"][index]
    b["out.weight"] = a["out.weight"][:, index]
    data = [(VECTORS, torch.func.functional_call(module, a, VECTORS))] * 100
    matching = match_learned(
        symmetry, a, b, model=module, data=data, loss="mse", init=identity, learning_rate=0.05
    )
    assert matching.permutation.num_moved[name] > 0
    assert matching.objective[-1] > 0.8 * matching.objective[0]
