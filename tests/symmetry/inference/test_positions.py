"""Channels have separate permutations per position, unless an operator mixes positions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.symmetry.inference.equivariance import sizes
from tests.symmetry.inference.snippets import Function, check, tokens, x

ROWS, CHANNELS = 5, 4
APART, TOGETHER = [(CHANNELS, 1)], [(CHANNELS, 0)]


def rows(function, **modules):
    """Return a model that maps its input to rows of channels and applies a function."""
    return Function(
        lambda m, h: function(m, m.a(h).view(-1, ROWS, CHANNELS)),
        a=nn.Linear(3, ROWS * CHANNELS),
        **modules,
    )


def attend(m, w):
    return F.scaled_dot_product_attention(w[:, None], w[:, None], w[:, None]).pow(2).sum(-1)


def gather(m, w):
    backwards = torch.arange(ROWS).flip(0)[None, :, None]
    return (w * w.gather(1, backwards.expand_as(w))).sum(-1)


MEETING = {
    "products of all pairs": lambda m, w: w @ w.mT,
    "einsum of all pairs": lambda m, w: torch.einsum("bnd,bmd->bnm", w, w),
    "linear in itself": lambda m, w: F.linear(w, w[0]),
    "distances of all pairs": lambda m, w: torch.cdist(w, w),
    "differences of all pairs": lambda m, w: (w[:, :, None] - w[:, None]).pow(2).sum(-1),
    "attention": attend,
    "rolled": lambda m, w: (w * w.roll(1, 1)).sum(-1),
    "flipped": lambda m, w: (w * w.flip(1)).sum(-1),
    "indexed": lambda m, w: (w * w[:, [1, 2, 3, 4, 0]]).sum(-1),
    "gathered": gather,
    "neighbors": lambda m, w: (w[:, 1:] * w[:, :-1]).sum(-1),
    "next but one": lambda m, w: (w[:, 2:] * w[:, :-2]).sum(-1),
    "shifted by padding": lambda m, w: (w * F.pad(w, (0, 0, 1, 0))[:, :-1]).sum(-1),
    "accumulated": lambda m, w: w.cumsum(1).pow(2).sum(-1),
    "pooled in place": lambda m, w: (w * F.max_pool1d(w.mT, 3, stride=1, padding=1).mT).sum(-1),
    "smoothed in place": lambda m, w: (w * F.avg_pool1d(w.mT, 3, stride=1, padding=1).mT).sum(-1),
}


@pytest.mark.parametrize("name", MEETING)
def test_channels_share_a_permutation_if_positions_mix(name):
    model = rows(MEETING[name])
    assert sizes(check(model, x(2, 3))) == TOGETHER


KEPT_APART = {
    "summed over channels": lambda m, w: w.pow(2).sum(-1),
    "normalized": lambda m, w: F.normalize(w, dim=-1).pow(3).sum(-1),
}


@pytest.mark.parametrize("name", KEPT_APART)
def test_channels_have_separate_permutations_per_position(name):
    group_sizes = sizes(check(rows(KEPT_APART[name]), x(2, 3)))
    assert group_sizes and all(size == CHANNELS and depth == 1 for size, depth in group_sizes)


def test_added_halves_share_a_permutation_per_position():
    model = Function(
        lambda m, h: (
            m.a(h).view(-1, 6, CHANNELS)[:, :3].mul(m.a(h).view(-1, 6, CHANNELS)[:, 3:]).sum(-1)
        ),
        a=nn.Linear(3, 6 * CHANNELS),
    )
    symmetry = check(model, x(2, 3))
    assert symmetry.log10_order == pytest.approx(3 * torch.tensor(24.0).log10().item(), rel=1e-6)


def test_position_table_compared_with_itself():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.randn(ROWS, CHANNELS))

        def forward(self, h):
            return torch.tanh(self.p @ self.p.T) @ h

    assert sizes(check(Table(), x(ROWS, 3))) == TOGETHER


def test_positions_regrouped_in_another_order_differ():
    def forward(m, w):
        swapped = w.view(-1, 2, 3, CHANNELS).transpose(1, 2).reshape(-1, 6, CHANNELS)
        return (w * swapped).sum(-1)

    model = Function(
        lambda m, h: forward(m, m.a(h).view(-1, 6, CHANNELS)), a=nn.Linear(3, 6 * CHANNELS)
    )
    assert sizes(check(model, x(2, 3))) == TOGETHER


def test_bilinear_layers_have_groups_on_both_sides():
    model = Function(
        lambda m, h: m.c(torch.tanh(m.b(torch.tanh(m.a(h)), torch.tanh(m.a(h))))),
        a=nn.Linear(3, 4),
        b=nn.Bilinear(4, 4, 6),
        c=nn.Linear(6, 2),
    )
    assert sizes(check(model, x(2, 3))) == [(4, 0), (6, 0)]


@pytest.mark.parametrize("mode", ("sum", "mean", "max"))
def test_bags_of_embeddings_have_groups(mode):
    model = Function(
        lambda m, ids: m.b(torch.tanh(m.a(ids))),
        a=nn.EmbeddingBag(11, 6, mode=mode),
        b=nn.Linear(6, 2),
    )
    assert sizes(check(model, tokens(3, 5))) == [(6, 0)]
