"""Rare operators, each on a minimal model with its expected groups."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.symmetry.inference.equivariance import sizes
from tests.symmetry.inference.snippets import Function, check, tokens, x


def pictured(mask):
    """Return a text model whose masked rows come from a separate encoder."""

    def forward(m, ids, h):
        text = m.text(ids)
        return m.head(torch.relu(text.masked_scatter(mask(ids, text), m.picture(h))))

    model = Function(
        forward, text=nn.Embedding(11, 6), picture=nn.Linear(3, 6), head=nn.Linear(6, 2)
    )
    return model, torch.tensor([[1, 7, 7, 4], [7, 2, 2, 3]]), x(4, 3)


@pytest.mark.parametrize(
    "mask",
    [
        lambda ids, text: (ids == 7)[..., None],
        lambda ids, text: (ids == 7)[..., None].expand_as(text),
        lambda ids, text: (ids == 7)[..., None].repeat(1, 1, 6),
    ],
)
def test_channels_of_rows_scattered_by_a_mask_are_permutable(mask):
    assert sizes(check(*pictured(mask))) == [(6, 0)]


@pytest.mark.parametrize(
    "mask",
    [
        lambda ids, text: (ids == 7)[..., None] & (torch.arange(6) < 4),
        lambda ids, text: (text > 0) & (ids == 7)[..., None],
    ],
)
def test_entries_scattered_by_a_mask_are_fixed(mask):
    assert sizes(check(*pictured(mask))) == []


def test_scattered_values_of_another_width_are_fixed():
    def forward(m, h):
        mask = torch.ones(1, 1, dtype=torch.bool)
        return m.head(torch.relu(m.hidden(h)).masked_scatter(mask, m.other(h)))

    model = Function(forward, hidden=nn.Linear(3, 6), other=nn.Linear(3, 8), head=nn.Linear(6, 2))
    assert sizes(check(model, x(4, 3))) == []


def test_assertions_may_have_any_size():
    def forward(m, h):
        torch._check(h[h > 0].numel() >= 0)
        return m.b(torch.relu(m.a(h)))

    model = Function(forward, a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    assert sizes(check(model, x(4, 3))) == [(6, 0)]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (lambda h: torch.bucketize(h, torch.linspace(-1, 1, 9)), [(6, 0)]),
        (lambda h: torch.searchsorted(torch.linspace(-1, 1, 9), h), [(6, 0)]),
        (lambda h: torch.searchsorted(h.abs().cumsum(-1), h), []),
    ],
)
def test_searched_entries_are_permutable(search, expected):
    model = Function(
        lambda m, h: m.b(search(m.a(h)).to(h.dtype)), a=nn.Linear(3, 6), b=nn.Linear(6, 2)
    )
    assert sizes(check(model, x(4, 3))) == expected


def test_channels_of_folded_windows_are_permutable():
    def forward(m, h):
        windows = F.unfold(m.a(h), 2, stride=2)
        return m.b(torch.relu(F.fold(windows, (4, 4), 2, stride=2)))

    model = Function(forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1))
    assert sizes(check(model, x(2, 3, 4, 4))) == [(6, 0)]


def test_pairs_of_one_set_are_fixed():
    model = Function(lambda m, h: F.pdist(m.a(h)), a=nn.Linear(3, 6))
    assert sizes(check(model, x(4, 3))) == [(6, 0)]
    model = Function(lambda m, h: F.pdist(m.a(h).t() ** 2) * m.p, a=nn.Linear(3, 6))
    model.p = nn.Parameter(x(15))
    assert sizes(check(model, x(4, 3))) == []


def test_repeats_by_count():
    def forward(m, ids, h):
        rows = torch.repeat_interleave(m.a(h), torch.tensor([2, 1, 3]), dim=0, output_size=6)
        return m.b(torch.relu(rows) * m.e(ids))

    model = Function(forward, a=nn.Linear(3, 5), e=nn.Embedding(11, 5), b=nn.Linear(5, 2))
    assert sizes(check(model, tokens(6), x(3, 3))) == [(5, 0)]
