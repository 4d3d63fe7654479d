"""Minimal models from random programs that once gave an invalid group or a crash."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin import infer_symmetry
from onebasin.symmetry._inference.canonical import REASON, with_disjoint_blocks
from onebasin.symmetry._inference.inference import trace_graph
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Family, Fixed, Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.inference.equivariance import sizes
from tests.symmetry.inference.random_programs import placed
from tests.symmetry.inference.snippets import Function, check, x


def parameters(function, *shapes, **buffers):
    """Return a model of parameters `p[0]`, `p[1]`, ... and buffers only."""
    model = Function(function, p=nn.ParameterList([x(*shape) for shape in shapes]))
    for name, value in buffers.items():
        model.register_buffer(name, value)
    return model


PLACES = torch.tensor([2, 0])
WRITTEN = {
    "added": lambda m, h: h.index_add(0, PLACES, m.p[0]),
    "copied": lambda m, h: h.index_copy(0, PLACES, m.p[0]),
    "put": lambda m, h: placed(h, (PLACES,), m.p[0]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_values_written_at_indices_are_fixed(name):
    model = parameters(lambda m, h: WRITTEN[name](m, h) * m.p[1], (2, 4), (4, 1))
    assert sizes(check(model, x(4, 4))) == []


def test_positions_under_a_causal_mask_are_fixed():
    model = parameters(
        lambda m, h: (F.scaled_dot_product_attention(m.p[0], h, h, is_causal=True) * m.p[1]).sum(),
        (2, 4, 6),
        (2, 4, 6),
    )
    assert sizes(check(model, x(2, 4, 6))) == []


def test_positions_without_a_mask_are_permutable():
    model = parameters(
        lambda m, h: (F.scaled_dot_product_attention(m.p[0], h, h) * m.p[1]).sum(),
        (2, 4, 6),
        (2, 4, 6),
    )
    assert sizes(check(model, x(2, 4, 6))) == [(4, 1)]


@pytest.mark.parametrize(
    "convolve",
    [
        lambda pairs, weight: F.conv1d(pairs, weight),
        lambda pairs, weight: F.conv_transpose1d(pairs, weight.transpose(0, 1)),
    ],
)
def test_summed_channels_of_a_convolution_are_not_batch_units(convolve):
    model = parameters(
        lambda m, h: (convolve(m.p[0][None] * m.p[0][:, None], m.p[1]) * m.p[2]).sum() * h,
        (6, 1),
        (2, 6, 1),
        (6, 2, 1),
    )
    assert sizes(check(model, x(2, 3))) == [(2, 0), (6, 0)]


def test_padding_around_a_concatenation():
    model = parameters(
        lambda m, h: (F.pad(torch.cat(list(m.p)[:2], 1), (2, 0)) * m.p[2]).sum() * h,
        (3, 4),
        (3, 5),
        (3, 11),
    )
    assert check(model, x(2, 3)).groups


def numbers_in_place(m, h):
    index = torch.zeros(6, dtype=torch.long)
    index.narrow(0, 1, 5).add_(torch.arange(5))
    return (m.a(h)[:, index] * m.p).sum(-1)


def test_integers_written_in_place_have_the_written_values():
    model = Function(numbers_in_place, a=nn.Linear(3, 6), p=nn.Parameter(x(6)))
    assert sizes(check(model, x(2, 3))) == []


@pytest.mark.parametrize("rank", [1, 2])
def test_masks_share_the_layout_of_masked_dimensions(rank):
    def forward(m, h):
        return placed(m.p[0] * 1.0, (h > 0 if rank == 2 else h[0] > 0,), 0.0).square().sum(-1)

    assert sizes(check(parameters(forward, (4, 6)), x(4, 6 if rank == 2 else 4))) == (
        [] if rank == 2 else [(6, 1)]
    )


def test_values_for_masked_positions_are_fixed():
    model = parameters(
        lambda m, h: placed(h, (m.mask,), m.p[0]), (3,), mask=torch.tensor([True, False] * 2)
    )
    model.p[0] = nn.Parameter(x(2))
    assert sizes(check(model, x(4))) == []


def test_equal_entries_of_a_constant_are_not_a_group():
    model = parameters(
        lambda m, h: (m.p[0][:, None] * m.ones).sum() * h, (4,), ones=torch.ones(1, 6)
    )
    symmetry = check(model, x(2, 3))
    assert sizes(symmetry) == [(4, 0)]
    assert symmetry.layouts["ones"][1].reason == "a constant of the model"


def test_units_split_across_dimensions_of_a_value_are_fixed():
    model = Function(
        lambda m, h: m.b(torch.relu(m.a(h).view(2, 3, 4)).flatten(1)),
        a=nn.Linear(5, 12),
        b=nn.Linear(12, 2),
    )
    traced = trace_graph(model, (x(2, 5),))
    assert sizes(traced.symmetry) == [(12, 0)]
    shapes = traced.features.shapes
    assert (shapes["linear"], shapes["view"], shapes["relu"]) == ((2, 12), (2, 3, 4), (2, 3, 4))
    reasons = {layout.reason for layout in traced.features.layouts["relu"][1:]}
    assert reasons == {"its units are split across dimensions"}
    assert infer_symmetry(model, x(2, 5)).groups == traced.symmetry.groups


def test_parts_of_a_stack_have_separate_groups():
    model = parameters(lambda m, h: torch.stack([h, m.p[0]]).sum((0, 1, 2)), (6, 5, 3))
    assert sizes(check(model, x(6, 5, 3))) == [(5, 2), (6, 1)]


def test_units_read_in_two_orders_have_disjoint_blocks():
    def forward(m, h):
        a = m.a(h)
        mixed = torch.cat([a[:, ::2], a[:, 1::2]], 1) + a
        return m.c(m.b(h).relu()), m.d(mixed.relu())

    model = Function(
        forward, a=nn.Linear(3, 12), b=nn.Linear(3, 5), c=nn.Linear(5, 2), d=nn.Linear(12, 2)
    )
    symmetry = check(model, x(4, 3))
    assert sizes(symmetry) == [(5, 0)]
    assert symmetry.layouts["a.weight"][1] == Fixed(3, "an input of the model")
    for tensor, blocks in symmetry.blocks.items():
        entries = sum(block.num_entries for block in blocks)
        assert entries == model.state_dict()[tensor].numel()


def test_layout_without_disjoint_blocks_is_fixed():
    units, halves = Units("g", 2), Sum((Fixed(1), Fixed(1)), "k")
    repeated = Product((halves, Family("k", (units, Fixed(2))), halves))
    layouts = {"w": (repeated,), "v": (units,), "u": (Units("h", 2),)}
    symmetry = Symmetry({name: Group(name, 2) for name in "gh"}, layouts)
    fixed = with_disjoint_blocks(symmetry)
    assert list(fixed.groups) == ["h"]
    assert fixed.layouts["w"] == (Fixed(8, REASON),)
    assert fixed.layouts["u"] == layouts["u"]
