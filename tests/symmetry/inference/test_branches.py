"""Conditions on input sizes: every branch constrains the symmetry."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from onebasin import infer_symmetry
from onebasin.symmetry import Symmetry, verify
from onebasin.symmetry._inference import branches
from onebasin.symmetry._inference.branches import variations_at_branches
from onebasin.symmetry._inference.graphs import inputs_at_branches
from tests.symmetry.inference.equivariance import assert_equivariant, sizes
from tests.symmetry.inference.snippets import Function, x

WIDTH = 6


def model(forward):
    torch.manual_seed(0)
    return Function(
        forward, a=nn.Linear(3, WIDTH), b=nn.Linear(WIDTH, WIDTH), c=nn.Linear(WIDTH, 2)
    )


def many_examples(m, h):
    g = m.b(m.a(h).relu()).relu()
    return m.c(g.flip(-1) if h.shape[0] > 64 else g)


def long_inputs(m, h):
    g = m.b(m.a(h).relu()).relu()
    return m.c(g.cumsum(-1) if 2 * h.size(1) >= 100 else g)


def multiples(m, h):
    g = m.b(m.a(h).relu()).relu()
    return m.c(g.roll(1, -1) if h.shape[1] % 12 == 0 else g)


def exact_size(m, h):
    g = m.b(m.a(h).relu()).relu()
    return m.c(g.flip(-1) if h.shape[1] == 200 else g)


def resized(m, h):
    h = F.interpolate(h.transpose(1, 2), h.shape[1]).transpose(1, 2)
    g = m.b(m.a(h).relu()).relu()
    return m.c(g.flip(-1) if h.shape[1] > 100 else g)


def plain_numbers(m, h):
    g = m.b(m.a(h).relu()).relu()
    return m.c(g.flip(-1) if len(h) > 50 else g)


def branch_of_a_branch(m, h):
    g = m.b(m.a(h).relu()).relu()
    if h.shape[1] < 16:
        return m.c(g)
    return m.c(g * 2 if h.shape[1] < 40 else g.flip(-1))


CASES = [
    (plain_numbers, (51, 7)),
    (branch_of_a_branch, (2, 40)),
    (many_examples, (65, 7)),
    (long_inputs, (2, 50)),
    (multiples, (2, 12)),
    (exact_size, (2, 200)),
    (resized, (2, 101)),
]


@pytest.mark.parametrize(("forward", "other"), CASES)
def test_units_mixed_by_another_branch_are_fixed(forward, other):
    network, example = model(forward), x(4, 7, 3)
    symmetry = infer_symmetry(network, example)
    assert sizes(symmetry) == [(WIDTH, 0)]
    assert_equivariant(symmetry, network, (x(*other, 3),))


@pytest.mark.parametrize(("forward", "other"), CASES)
def test_verification_tests_both_branches(forward, other):
    network, example = model(forward), x(4, 7, 3)
    spec = {name: [None] * tensor.dim() for name, tensor in network.named_parameters()}
    spec |= {"b.weight": ["units", None], "b.bias": ["units"], "c.weight": [None, "units"]}
    verification = verify(Symmetry.from_spec(spec, network), network, example)
    assert set(verification.failed_groups) == {"units"}
    assert "on inputs" in verification.failed_groups["units"]


def test_conditions_without_effect_give_no_inputs():
    def checked(m, h):
        assert h.shape[1] < 1000
        return m.c(m.b(m.a(h).relu()).relu())

    network = model(checked)
    lengths = {v.args[0].shape[1] for v in variations_at_branches(network, (x(4, 7, 3),), {})}
    assert 1000 in lengths
    assert inputs_at_branches(network, (x(4, 7, 3),), {}) == []


def test_conditions_before_one_with_many_terms_are_used():
    def nested(m, h):
        size = h.shape[1]
        assert size < 1000
        for divisor in range(3, 40):
            size = size // 2 + size % divisor
            if size % (divisor + 1) > divisor:  # the terms double in every turn
                break
        return m.c(m.b(m.a(h).relu()).relu())

    lengths = {v.args[0].shape[1] for v in variations_at_branches(model(nested), (x(4, 7, 3),), {})}
    assert 1000 in lengths


def test_conditions_inside_functions_give_no_inputs():
    def convolved(m, h):
        return m.c(F.avg_pool1d(m.b(m.a(h).relu()).relu(), 3, stride=3).repeat(1, 1, 3))

    assert variations_at_branches(model(convolved), (x(4, 7, 3),), {}) == []


def test_longer_loops_are_not_branches():
    def loop(m, h):
        state = h.new_zeros(h.shape[0], WIDTH)
        for step in range(h.shape[1]):
            state = torch.tanh(m.a(h[:, step]) + m.b(state))
        return m.c(state)

    assert inputs_at_branches(model(loop), (x(4, 7, 3),), {}) == []


def test_conditions_undefined_at_some_sizes_are_skipped():
    def blocks(m, h):
        g = m.b(m.a(h).relu()).relu()
        return m.c(g.flip(-1) if 60 % (h.shape[1] // 4) == 0 else g)

    network, example = model(blocks), x(4, 28, 3)
    assert_equivariant(infer_symmetry(network, example), network, (x(4, 24, 3),))


def test_torch_evaluates_conditions_by_an_overridable_method():
    assert callable(getattr(ShapeEnv, "evaluate_sym_node", None)), (
        f"torch {torch.__version__} has no ShapeEnv.evaluate_sym_node, which records conditions "
        "on input sizes; override its replacement in symmetry/_inference/branches.py"
    )


def test_inputs_without_symbolic_sizes_have_no_variations():
    rows = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged)
    assert variations_at_branches(nn.Linear(3, 2), (rows,), {}) == []


def test_internal_errors_are_not_hidden(monkeypatch):
    def broken(model):
        raise TypeError("a bug")

    monkeypatch.setattr(branches, "named_tensors", broken)
    with pytest.raises(TypeError, match="a bug"):
        variations_at_branches(nn.Linear(3, 2), (torch.ones(2, 3),), {})
