"""Relaxed permutations: at their corners they are permutations, in between convex."""

from __future__ import annotations

import pytest
import torch

from onebasin import Permutation
from onebasin.matching._relaxation.relaxation import Relaxation, lerp
from tests.graph import networks as forward_networks
from tests.matching.problems import NETWORKS, unrelated, weights


def of(network: str) -> tuple[Relaxation, dict[str, torch.Tensor]]:
    if network == "transformer":
        from onebasin import infer_symmetry

        model, tokens = forward_networks.build(network)
        return Relaxation(infer_symmetry(model, tokens)), dict(model.state_dict())
    params = {n: t.double().contiguous() for n, t in weights(network, 0).items()}
    return Relaxation(unrelated(network).symmetry), params


ALL = pytest.mark.parametrize("network", [*NETWORKS, "transformer"])


@ALL
def test_vertex_moves_a_tensor_like_the_permutation(network):
    relaxation, params = of(network)
    for seed in range(2):
        permutation = Permutation.random(relaxation.symmetry, seed=seed)
        corner = relaxation.vertex(permutation, torch.float64)
        moved = permutation.apply(params)
        for name, tensor in params.items():
            torch.testing.assert_close(relaxation.move(name, tensor, corner), moved[name])


@ALL
def test_rounding_recovers_a_vertex(network):
    relaxation, _ = of(network)
    permutation = Permutation.random(relaxation.symmetry, seed=3)
    corner = relaxation.vertex(permutation, torch.float64)
    assert relaxation.rounded(corner).equals(permutation)
    assert relaxation.sharpness(corner) == 1
    near = lerp(corner, relaxation.uniform(torch.float64), 0.3)
    assert relaxation.rounded(near).equals(permutation)
    assert 0.7 <= relaxation.sharpness(near) < 1


@ALL
def test_uniform_matrices_average_all_units(network):
    relaxation, params = of(network)
    uniform = relaxation.uniform(torch.float64)
    assert relaxation.shapes == {name: tuple(m.shape) for name, m in uniform.items()}
    drawn = Permutation.random(relaxation.symmetry, seed=1).apply(params)
    for name, tensor in params.items():
        moved = relaxation.move(name, tensor, uniform)
        torch.testing.assert_close(moved.sum(), tensor.sum())
        torch.testing.assert_close(moved, relaxation.move(name, drawn[name], uniform))


def test_nested_group_has_a_matrix_for_every_pair_of_outer_units():
    relaxation, _ = of("attention")
    groups = relaxation.symmetry.groups
    nested = next(group for group in groups.values() if group.nested_in)
    outer = groups[nested.nested_in[0]].size
    assert relaxation.shapes[nested.name] == (outer, outer, nested.size, nested.size)


def test_units_in_an_outer_unit_move_by_the_matrix_of_its_pair():
    relaxation, params = of("grouped")
    generator = torch.Generator().manual_seed(0)
    relaxed = {
        name: torch.rand(shape, generator=generator, dtype=torch.float64)
        for name, shape in relaxation.shapes.items()
    }
    outer, inner = relaxed["0.outer"], relaxed["0.inner"]
    old = params["0.bias"].view(4, 2)
    new = torch.einsum("op,opij,pj->oi", outer, inner, old)
    torch.testing.assert_close(relaxation.move("0.bias", params["0.bias"], relaxed), new.flatten())


def test_gradients_reach_the_matrices_and_the_tensor():
    relaxation, params = of("square")
    matrices = {n: m.requires_grad_() for n, m in relaxation.uniform(torch.float64).items()}
    tensor = params["b.weight"].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, t: relaxation.move("b.weight", t, {"a": m}), (matrices["a"], tensor)
    )


def test_degrees_count_matrices():
    relaxation, _ = of("square")
    assert relaxation.degree("b.weight") == 2
    assert relaxation.degree("c.bias") == 0
    assert relaxation.groups_of("b.weight") == ("a",)
