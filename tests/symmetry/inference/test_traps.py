"""Difficult cases of inference, each on a minimal model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin import Permutation, infer_symmetry
from tests.symmetry.inference.equivariance import assert_close, sizes
from tests.symmetry.inference.snippets import Function, check, tokens, x


def test_helper_detects_an_invalid_symmetry():
    with pytest.raises(AssertionError):
        assert_close([torch.zeros(3)], [torch.full((3,), 1e-5)])


def test_tied_weights_are_one_tensor():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(11, 6)
            self.head = nn.Linear(6, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(torch.relu(self.embed(ids)))

    symmetry = check(Tied(), tokens(2, 5))
    assert symmetry.tied == (("embed.weight", "head.weight"),)
    assert sizes(symmetry) == [(6, 0)]
    assert symmetry.layouts["embed.weight"] == symmetry.layouts["head.weight"]


def test_constant_buffers_fix_only_varying_dimensions():
    model = Function(
        lambda m, h: m.b(torch.relu(m.a(h)) + m.table), a=nn.Linear(3, 6), b=nn.Linear(6, 2)
    )
    model.register_buffer("table", torch.zeros(4, 6))
    assert sizes(check(model, x(2, 4, 3))) == [(6, 0)]
    model.table = torch.arange(4.0)[:, None].expand(4, 6).clone()
    assert sizes(check(model, x(2, 4, 3))) == [(6, 0)]
    model.table = torch.arange(24.0).view(4, 6)
    assert sizes(check(model, x(2, 4, 3))) == []


class Frozen(nn.Module):
    """A normalization whose statistics, scale and shift are buffers that are never written."""

    def __init__(self, size: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, x(size).abs() + 0.1)
        self.register_buffer("place", torch.arange(3.0))

    def forward(self, h):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return (h - self.running_mean) * scale + self.bias


def test_frozen_statistics_have_the_channel_group():
    model = nn.Sequential(nn.Linear(2, 6), Frozen(6), nn.ReLU(), nn.Linear(6, 2))
    symmetry = check(model, x(5, 2))
    assert sizes(symmetry) == [(6, 0)]
    assert {name for name in symmetry.buffers if symmetry.blocks[name][0].groups} == {
        f"1.{name}" for name in ("weight", "bias", "running_mean", "running_var")
    }


def test_tables_next_to_frozen_statistics_are_fixed():
    def forward(m, h):
        return m.b(m.norm(torch.relu(m.a(h))) * m.norm.place)

    model = Function(forward, a=nn.Linear(2, 3), norm=Frozen(3), b=nn.Linear(3, 2))
    model.norm.place = torch.arange(3.0).expand(1, 3).clone()
    assert sizes(check(model, x(5, 2))) == []


def test_gated_halves():
    def forward(m, h):
        value, gate = m.up(h).chunk(2, -1)
        return m.down(value * F.silu(gate))

    symmetry = check(Function(forward, up=nn.Linear(3, 10), down=nn.Linear(5, 2)), x(2, 3))
    assert sizes(symmetry) == [(5, 0)]


def test_slice_scatter_replaces_a_part():
    def forward(m, h):
        y = h.new_zeros(2, 10)
        y[:, 2:6] = m.a(h)
        y[:, 7:] = m.b(h)
        return m.o(torch.relu(y))

    model = Function(forward, a=nn.Linear(3, 4), b=nn.Linear(3, 3), o=nn.Linear(10, 2))
    symmetry = check(model, x(2, 3))
    assert {g.size for g in symmetry.groups.values()} >= {4, 3}


def test_padding_of_channels():
    def forward(m, h):
        h = m.a(h)
        return m.o(torch.relu(F.pad(h, (0, 0, 0, 0, 1, 2)) + m.b(h)).mean((-1, -2)))

    model = Function(forward, a=nn.Conv2d(3, 5, 3), b=nn.Conv2d(5, 8, 1), o=nn.Linear(8, 2))
    assert {g.size for g in check(model, x(2, 3, 6, 6)).groups.values()} == {5, 2}


def test_buffer_written_by_forward_has_the_group_of_the_value():
    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)
            self.register_buffer("seen", torch.arange(6.0))

        def forward(self, h):
            h = torch.relu(self.a(h))
            self.seen.copy_(0.9 * self.seen + 0.1 * h.mean(0))
            return self.b(h / (1 + self.seen))

    symmetry = infer_symmetry(Recorder(), (x(2, 3),))
    assert sizes(symmetry) == [(6, 0)]
    assert str(symmetry.layouts["seen"][0]) == "seen:6"


def test_batch_norm_buffers_have_the_channel_group():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3))
    model[1].running_var.copy_(torch.arange(1.0, 6.0))
    symmetry = check(model, x(2, 3, 7, 7))
    assert [str(symmetry.layouts[f"1.running_{n}"][0]) for n in ("mean", "var")] == ["0:5", "0:5"]


def test_group_norm_nests_channels_in_groups():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 2, 3))
    assert sizes(check(model, x(2, 3, 7, 7))) == [(2, 0), (3, 1)]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [(1, [(6, 0), (12, 0)]), (2, [(2, 0), (3, 1), (6, 1)]), (6, [(2, 1), (6, 0)])],
)
def test_grouped_and_depthwise_convolutions(groups, expected):
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, groups=groups),
        nn.ReLU(),
        nn.Conv2d(12, 2, 1),
    )
    assert sizes(check(model, x(2, 3, 5, 5))) == expected


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(groups):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, groups=groups),
        nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    )
    expected = [(4, 0), (6, 0)] if groups == 1 else [(2, 0), (2, 1), (3, 1)]
    assert sizes(check(model, x(2, 3, 5, 5))) == expected


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind):
    model = Function(
        lambda m, h: m.o(m.rnn(h)[0]),
        rnn=kind(3, 4, num_layers=2, batch_first=True),
        o=nn.Linear(4, 2),
    )
    symmetry = check(model, x(2, 5, 3))
    assert sizes(symmetry) == [(4, 0), (4, 0)]
    assert symmetry.permutable_fraction == pytest.approx(1, abs=0.03)


def test_bidirectional_lstm():
    model = Function(
        lambda m, h: m.o(m.rnn(h)[0]),
        rnn=nn.LSTM(3, 4, batch_first=True, bidirectional=True),
        o=nn.Linear(8, 2),
    )
    assert sizes(check(model, x(2, 5, 3))) == [(4, 0), (4, 0)]


def test_weight_norm():
    norm = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(norm(nn.Linear(3, 6)), nn.ReLU(), norm(nn.Linear(6, 2)))
    assert sizes(check(model, x(2, 3))) == [(6, 0)]


def test_spectral_norm_and_its_vectors():
    norm = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(
        norm(nn.Linear(3, 6)), nn.ReLU(), norm(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 2)
    )
    symmetry = check(model, x(2, 3))
    assert sizes(symmetry) == [(5, 0), (6, 0)]
    assert str(symmetry.layouts["2.parametrizations.weight.0._v"][0]) == "0:6"


def test_unused_parameters_are_reported_separately():
    model = Function(lambda m, h: m.a(h), a=nn.Linear(3, 2), never=nn.Linear(30, 30))
    symmetry = check(model, x(2, 3))
    assert symmetry.groups == {}
    assert symmetry.unused == ("never.weight", "never.bias")


def test_dropout_is_off_and_the_training_flag_is_restored():
    model = nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.5), nn.Linear(6, 2)).train()
    assert sizes(check(model, x(2, 3))) == [(6, 0)]
    assert all(module.training for module in model.modules())


def test_batch_of_one():
    def forward(m, h):
        h = torch.relu(m.a(h))
        return m.b(h + h.mean(0, keepdim=True))

    model = Function(forward, a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    assert sizes(check(model, x(1, 3))) == [(6, 0)]


def test_square_residual_matrix_has_its_group_twice():
    model = Function(
        lambda m, h: m.o(m.i(h) + m.square(torch.relu(m.i(h)))),
        i=nn.Linear(3, 6),
        square=nn.Linear(6, 6),
        o=nn.Linear(6, 2),
    )
    symmetry = check(model, x(2, 3))
    assert sizes(symmetry) == [(6, 0)]
    assert [str(layout) for layout in symmetry.layouts["square.weight"]] == ["i:6", "i:6"]


def test_dense_concatenation():
    def forward(m, h):
        a = torch.relu(m.a(h))
        b = torch.relu(m.b(torch.cat([h, a], 1)))
        return m.c(torch.cat([h, a, b], 1))

    model = Function(forward, a=nn.Linear(3, 4), b=nn.Linear(7, 5), c=nn.Linear(12, 2))
    symmetry = check(model, x(2, 3))
    assert sizes(symmetry) == [(4, 0), (5, 0)]
    assert str(symmetry.layouts["c.weight"][1]) == "(3 + a:4 + b:5)"


def test_flattening_channels_and_positions():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 2))
    symmetry = check(model, x(2, 1, 5, 5))
    assert str(symmetry.layouts["3.weight"][1]) == "(0:4 × 9)"


def test_reshape_without_effect_is_one_group():
    def forward(m, h):
        return m.b(torch.relu(m.a(h).view(2, 3, 4)).flatten(1))

    symmetry = check(Function(forward, a=nn.Linear(5, 12), b=nn.Linear(12, 2)), x(2, 5))
    assert sizes(symmetry) == [(12, 0)]


def test_experts_are_fixed_with_separate_groups_for_their_units():
    def forward(m, h):
        hidden = torch.relu(torch.einsum("bi,eih->beh", h, m.up))
        return torch.einsum("beh,eho->bo", hidden, m.down) + m.gate(h).cumsum(-1)

    model = Function(
        forward, up=nn.Parameter(x(3, 5, 4)), down=nn.Parameter(x(3, 4, 2)), gate=nn.Linear(5, 2)
    )
    assert sizes(check(model, x(2, 5))) == [(3, 0), (4, 1)]


class Shared(nn.Module):
    """Two layers over the same memory; the second uses `view` of the first layer's weight."""

    def __init__(self, view):
        super().__init__()
        self.a = nn.Linear(6, 6, bias=False)
        self.b = nn.Linear(6, 6, bias=False)
        self.b.weight.data = view(self.a.weight.data)

    def forward(self, h):
        return self.b(torch.tanh(self.a(h)))[..., :2]


def test_different_objects_over_the_same_memory_are_tied():
    model = Shared(lambda weight: weight)
    symmetry = check(model, x(3, 6))
    assert symmetry.tied == (("a.weight", "b.weight"),)


def test_transpose_over_the_same_memory_shares_groups():
    model = Shared(lambda weight: weight.t())
    symmetry = check(model, x(3, 6))
    assert sizes(symmetry) == [(6, 0)]
    state = Permutation.random(symmetry, seed=1).apply(model.state_dict())
    assert torch.equal(state["a.weight"], state["b.weight"].t())
    before = model(x(3, 6))
    model.load_state_dict(state)
    torch.testing.assert_close(model(x(3, 6)), before)


def test_other_views_of_the_same_memory_are_fixed_and_reported():
    model = Shared(lambda weight: weight)
    model.register_buffer("part", model.a.weight.data[:3])
    symmetry = check(model, x(3, 6))
    assert sizes(symmetry) == []
    (unsupported,) = symmetry.unsupported_ops
    assert unsupported.reason == "part and a.weight share memory"
    assert unsupported.tensors == ("a.weight",)  # no output depends on `part`
