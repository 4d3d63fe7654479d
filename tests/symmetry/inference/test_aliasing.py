"""In-place writes constrain every alias of the written memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin import infer_symmetry
from onebasin.symmetry._inference.export import export_model
from tests.symmetry.inference.equivariance import sizes
from tests.symmetry.inference.snippets import Function, check, x


def first_half_rectified(m, h):
    h = m.a(h)
    h[:, :3].relu_()
    return m.b(h)


def first_half_rectified_by_a_function(m, h):
    h = m.a(h)
    F.relu(h[:, :3], inplace=True)
    return m.b(h)


def one_channel_shifted(m, h):
    h = m.a(h) * 1
    h[:, 0].add_(1.0)
    return m.b(h.tanh())


def bias_added_to_a_view(m, h):
    h = m.a(h)
    h.view(-1, 2, 3).add_(m.gain.view(2, 3))
    return m.b(h.tanh())


def view_read_after_its_base_was_scaled(m, h):
    h = m.a(h)
    view = h.view(-1, 6)
    h.mul_(m.gain)
    return m.b(view.tanh())


def first_chunk_squashed(m, h):
    h = m.a(h)
    h.chunk(2, 1)[0].sigmoid_()
    return m.b(h)


def row_of_zeros_added_to(m, h):
    rows = h.new_zeros(2, h.shape[0], 6)
    rows[1].add_(m.a(h))
    return m.b((rows + m.gain).tanh()).sum(0)


def detached_alias_scaled(m, h):
    h = m.a(h)
    h.detach().mul_(m.gain)
    return m.b(h.tanh())


def dropout_output_scaled(m, h):
    h = m.a(h)
    F.dropout(h, 0.5, m.training).mul_(m.gain)
    return m.b(h.tanh())


def transposed_by_einsum_and_scaled(m, h):
    h = m.a(h)
    torch.einsum("ij->ji", h).mul_(m.gain[:, None])
    return m.b(h.tanh())


def scaled_without_gradient(m, h):
    h = m.a(h)
    with torch.no_grad():
        h.view(-1, 2, 3).mul_(m.gain.view(2, 3))
    return m.b(h.tanh())


@pytest.mark.parametrize(
    ("forward", "groups"),
    [
        (first_half_rectified, [(3, 0), (3, 0)]),
        (first_half_rectified_by_a_function, [(3, 0), (3, 0)]),
        (one_channel_shifted, []),
        (bias_added_to_a_view, [(6, 0)]),
        (view_read_after_its_base_was_scaled, [(6, 0)]),
        (first_chunk_squashed, [(3, 0), (3, 0)]),
        (row_of_zeros_added_to, [(6, 0)]),
        (detached_alias_scaled, [(6, 0)]),
        (dropout_output_scaled, [(6, 0)]),
        (transposed_by_einsum_and_scaled, [(6, 0)]),
        (scaled_without_gradient, [(6, 0)]),
    ],
)
def test_write_through_an_alias_constrains_the_units(forward, groups):
    model = Function(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 2), gain=nn.Parameter(x(6)))
    assert sizes(check(model, x(3, 4))) == groups


def test_token_written_in_place_has_the_channel_group():
    def forward(m, h):
        h = m.a(h)
        h[:, 0].add_(m.token)
        return m.b(h.tanh()).mean(1)

    model = Function(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 2), token=nn.Parameter(x(6)))
    assert sizes(check(model, x(2, 5, 4))) == [(6, 0)]


@pytest.mark.parametrize("persistent", [True, False])
def test_stored_state_has_the_group_of_later_reads(persistent):
    def forward(m, h):
        read = (m.memory * m.gain).sum()
        m.memory.copy_(m.a(h).mean(0))
        return m.b(m.a(h).tanh()) * read

    model = Function(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 2), gain=nn.Parameter(x(6)))
    model.register_buffer("memory", torch.zeros(6), persistent=persistent)
    symmetry = infer_symmetry(model, x(3, 4))
    assert sizes(symmetry) == [(6, 0)]
    (group,) = symmetry.groups
    assert {"a.weight", "gain", "b.weight"} <= set(symmetry.tensors_of[group])


@pytest.mark.parametrize(
    ("forward", "decomposed"),
    [
        (lambda m, h: m.b(m.a(h).relu_()), False),
        (lambda m, h: m.b(m.a(h).view(-1, 6).relu_().mul_(2.0)), False),
        (first_half_rectified, True),
        (view_read_after_its_base_was_scaled, True),
    ],
)
def test_only_writes_with_a_live_alias_are_decomposed(forward, decomposed):
    model = Function(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 2), gain=nn.Parameter(x(6)))
    graph = export_model(model, (x(3, 4),), {}, None).graph_module.graph
    written = [node for node in graph.nodes if "_." in str(node.target)]
    assert bool(written) != decomposed
