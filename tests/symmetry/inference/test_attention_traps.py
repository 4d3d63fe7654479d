"""Difficult cases of attention: heads, shared keys, fused projections, rotations, windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.symmetry.inference.equivariance import sizes
from tests.symmetry.inference.snippets import Function, check, x


def test_rotary_tables_fix_the_rotated_channels():
    def forward(m, h):
        q, k, v = (p(h).view(2, 5, 3, 4).transpose(1, 2) for p in (m.q, m.k, m.v))
        angle = torch.arange(5.0)[:, None] * m.frequency
        angle = torch.cat([angle, angle], -1)

        def rotate(t):
            half = torch.cat([-t[..., 2:], t[..., :2]], -1)
            return t * angle.cos() + half * angle.sin()

        out = F.scaled_dot_product_attention(rotate(q), rotate(k), v)
        return m.o(out.transpose(1, 2).reshape(2, 5, 12))

    model = Function(forward, **{n: nn.Linear(7, 12) for n in "qkv"}, o=nn.Linear(12, 7))
    model.register_buffer("frequency", torch.tensor([1.0, 0.1]), persistent=True)
    symmetry = check(model, x(2, 5, 7))
    assert sizes(symmetry) == [(3, 0), (4, 1)]  # heads, and the channels of v in each head
    assert "v.inner" in symmetry.groups
    assert symmetry.layouts["frequency"][0].reason == "a constant of the model"


def grouped_query(heads: int, kv: int, dim: int) -> nn.Module:
    def forward(m, h):
        q = m.q(h).view(2, 5, heads, dim).transpose(1, 2)
        k, v = (p(h).view(2, 5, kv, dim).transpose(1, 2) for p in (m.k, m.v))
        k, v = (
            t[:, :, None].expand(2, kv, heads // kv, 5, dim).reshape(2, heads, 5, dim)
            for t in (k, v)
        )
        weights = (q @ k.transpose(-1, -2)).softmax(-1)
        return m.o((weights @ v).transpose(1, 2).flatten(2))

    return Function(
        forward,
        q=nn.Linear(7, heads * dim),
        k=nn.Linear(7, kv * dim),
        v=nn.Linear(7, kv * dim),
        o=nn.Linear(heads * dim, 7),
    )


def test_grouped_query_heads_nest_in_key_heads():
    symmetry = check(grouped_query(6, 2, 4), x(2, 5, 7))
    assert sizes(symmetry) == [(2, 0), (3, 1), (4, 1), (4, 1)]
    (key_heads,) = {g.nested_in for g in symmetry.groups.values() if g.nested_in}
    assert symmetry.groups[key_heads[0]].size == 2


def test_native_grouped_query_attention():
    def forward(m, h):
        q = m.q(h).view(2, 5, 6, 4).transpose(1, 2)
        k, v = (p(h).view(2, 5, 2, 4).transpose(1, 2) for p in (m.k, m.v))
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True)
        return m.o(out.transpose(1, 2).flatten(2))

    model = grouped_query(6, 2, 4)
    model.function = forward
    assert sizes(check(model, x(2, 5, 7))) == [(2, 0), (3, 1), (4, 1), (4, 1)]


def test_fused_projection_unbound():
    def forward(m, h):
        q, k, v = m.qkv(h).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return m.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    symmetry = check(Function(forward, qkv=nn.Linear(7, 24), o=nn.Linear(8, 7)), x(2, 5, 7))
    assert sizes(symmetry) == [(2, 0), (4, 1), (4, 1)]
    assert str(symmetry.layouts["qkv.bias"][0]) == (
        "((qkv[0].outer:2 × qkv[0].inner:4) + (qkv[0].outer:2 × qkv[0].inner:4)"
        " + (qkv[0].outer:2 × qkv[2].inner:4))"
    )


def test_fused_projection_interleaved_by_head():
    def forward(m, h):
        q, k, v = m.qkv(h).view(2, 5, 2, 12).transpose(1, 2).chunk(3, -1)
        return m.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    symmetry = check(Function(forward, qkv=nn.Linear(7, 24), o=nn.Linear(8, 7)), x(2, 5, 7))
    assert sizes(symmetry) == [(2, 0), (4, 1), (4, 1)]


def test_fused_projection_of_unequal_parts():
    def forward(m, h):
        q, k, v = m.qkv(h).split([8, 4, 4], -1)
        q = q.view(2, 5, 2, 4).transpose(1, 2)
        k, v = (t[:, None] for t in (k, v))
        return m.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    symmetry = check(Function(forward, qkv=nn.Linear(7, 16), o=nn.Linear(8, 7)), x(2, 5, 7))
    assert sizes(symmetry) == [(2, 0), (4, 0), (4, 0)]


def test_relative_position_tables_have_the_head_group():
    def forward(m, h):
        q, k, v = m.qkv(h).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        bias = m.table[m.index.view(-1)].view(5, 5, 2).permute(2, 0, 1)
        weights = (q @ k.transpose(-1, -2) + bias).softmax(-1)
        return m.o((weights @ v).transpose(1, 2).flatten(2))

    model = Function(forward, qkv=nn.Linear(7, 24), o=nn.Linear(8, 7), table=nn.Parameter(x(9, 2)))
    model.register_buffer("index", (torch.arange(5)[:, None] - torch.arange(5) + 4))
    symmetry = check(model, x(2, 5, 7))
    assert [str(layout) for layout in symmetry.layouts["table"]] == ["9", "table:2"]


def test_windows_and_roll_do_not_fix_channels():
    def forward(m, h):
        h = m.a(h).roll((1, 1), (1, 2))
        h = h.view(2, 2, 2, 2, 2, 6).permute(0, 1, 3, 2, 4, 5).reshape(8, 4, 6)
        return m.b(torch.relu(h)).mean((0, 1))

    model = Function(forward, a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    assert sizes(check(model, x(2, 4, 4, 3))) == [(6, 0)]


def test_softmax_over_heads_unifies_their_channels():
    def forward(m, h):
        h = m.a(h).view(2, 3, 4).softmax(1)
        return m.b(h.flatten(1))

    symmetry = check(Function(forward, a=nn.Linear(5, 12), b=nn.Linear(12, 2)), x(2, 5))
    assert sizes(symmetry) == [(3, 1), (4, 0)]  # one of two possible nestings


def test_attention_over_positions_with_a_class_token():
    def forward(m, h):
        h = torch.cat([m.token.expand(2, 1, 6), m.patch(h)], 1) + m.position
        return m.head(m.norm(h)[:, 0])

    model = Function(
        forward,
        token=nn.Parameter(x(1, 1, 6)),
        patch=nn.Linear(3, 6),
        position=nn.Parameter(x(1, 5, 6)),
        norm=nn.LayerNorm(6),
        head=nn.Linear(6, 2),
    )
    assert sizes(check(model, x(2, 4, 3))) == [(6, 0)]
