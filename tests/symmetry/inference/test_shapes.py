"""Symmetries hold at every input shape and in training mode, not only for the example."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin import infer_symmetry
from onebasin.symmetry._inference import graphs
from tests.symmetry.inference.equivariance import assert_equivariant, sizes
from tests.symmetry.inference.snippets import Function, tokens, x

WIDTH, ROWS = 6, 12


def parameter(*shape):
    return nn.Parameter(x(*shape))


def embed_positions(m, ids):
    return m.head(torch.tanh(m.tokens(ids) + m.positions[:, : ids.shape[1]]))


def mix_positions(m, h):
    length = h.shape[1]
    return m.head(torch.tanh(torch.einsum("ts,bsc->btc", m.mixing[:length, :length], m.e(h))))


def read_queries(m, h):
    keys = m.e(h)
    scores = torch.softmax(m.queries[: h.shape[1]] @ keys.mT, -1)
    return m.head(torch.tanh(scores @ keys).mean(1))


def read_numbered_rows(m, h):
    return m.head(torch.tanh(m.e(h) + m.table[torch.arange(h.shape[1])]).mean(1))


def head():
    return nn.Linear(WIDTH, 2)


def positions():
    tables = {"tokens": nn.Embedding(11, WIDTH), "positions": parameter(1, ROWS, WIDTH)}
    return Function(embed_positions, **tables, head=head()), lambda n: tokens(2, n)


def mixing():
    model = Function(
        mix_positions, e=nn.Linear(3, WIDTH), mixing=parameter(ROWS, ROWS), head=head()
    )
    return model, lambda n: x(2, n, 3)


def queries():
    model = Function(
        read_queries, e=nn.Linear(3, WIDTH), queries=parameter(ROWS, WIDTH), head=head()
    )
    return model, lambda n: x(2, n, 3)


def numbered():
    model = Function(
        read_numbered_rows, e=nn.Linear(3, WIDTH), table=parameter(ROWS, WIDTH), head=head()
    )
    return model, lambda n: x(2, n, 3)


@pytest.mark.parametrize(
    ("build", "length"), [(positions, 5), (mixing, 5), (queries, ROWS), (numbered, ROWS)]
)
def test_rows_read_by_longer_inputs_only_are_fixed(build, length):
    model, inputs = build()
    symmetry = infer_symmetry(model, inputs(length))
    for other in (3, length, ROWS):
        assert_equivariant(symmetry, model, (inputs(other),))
    assert sizes(symmetry) == [(WIDTH, 0)]


def test_positions_of_a_fully_read_table_are_permutable():
    model = Function(
        lambda m, h: m.head(torch.tanh(torch.softmax(m.e(h) @ m.table.T, -1) @ m.table).mean(1)),
        e=nn.Linear(3, WIDTH),
        table=parameter(ROWS, WIDTH),
        head=head(),
    )
    assert sizes(infer_symmetry(model, x(2, 5, 3))) == [(WIDTH, 0), (ROWS, 0)]


def test_unread_part_is_not_a_group():
    model = Function(
        lambda m, h: m.head(torch.relu(F.linear(h, m.weight[:WIDTH]))),
        weight=parameter(2 * WIDTH, 3),
        head=head(),
    )
    symmetry = infer_symmetry(model, x(4, 3))
    assert_equivariant(symmetry, model, (x(4, 3),))
    assert sizes(symmetry) == [(WIDTH, 0)]


def interpolate(m, h):
    table = m.table
    if h.shape[1] != ROWS - 1:
        rest = F.interpolate(table[:, 1:].mT, size=h.shape[1]).mT
        table = torch.cat([table[:, :1], rest], 1)
    h = torch.cat([m.token.expand(len(h), -1, -1), m.e(h)], 1)
    return m.head(torch.tanh(h + table).mean(1))


def test_channels_of_an_interpolated_table_are_permutable():
    tables = {"table": parameter(1, ROWS, WIDTH), "token": parameter(1, 1, WIDTH)}
    model = Function(interpolate, e=nn.Linear(3, WIDTH), **tables, head=head())
    symmetry = infer_symmetry(model, x(2, ROWS - 1, 3))
    for length in (5, ROWS - 1):
        assert_equivariant(symmetry, model, (x(2, length, 3),))
    assert sizes(symmetry) == [(WIDTH, 0)]


def long_or_short(m, h):
    return m.head(torch.relu(m.e(h)) if h.shape[1] < 8 else m.gain * torch.relu(m.e(h)))


def test_tensors_used_by_longer_inputs_only_have_the_group():
    model = Function(long_or_short, e=nn.Linear(3, WIDTH), gain=nn.Parameter(x(WIDTH)), head=head())
    symmetry = infer_symmetry(model, x(2, 5, 3))
    for length in (5, 10):
        assert_equivariant(symmetry, model, (x(2, length, 3),))
    (tensors,) = symmetry.tensors_of.values()
    assert set(tensors) == {"gain", "e.weight", "e.bias", "head.weight"}


def test_units_split_by_a_length_are_fixed():
    model = Function(
        lambda m, h: m.head(torch.relu(m.e(h))) * m.e(h)[..., : h.shape[1]].sum(-1, keepdim=True),
        e=nn.Linear(3, WIDTH),
        head=head(),
    )
    symmetry = infer_symmetry(model, x(2, WIDTH, 3))
    assert sizes(symmetry) == []


class Auxiliary(nn.Module):
    """A second head for training only, and a token for pretraining only."""

    def __init__(self, *, exportable: bool = True) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(4, WIDTH), head()
        self.norm, self.auxiliary, self.mask_token = nn.BatchNorm1d(WIDTH), head(), parameter(WIDTH)
        self.exportable = exportable

    def forward(self, h, hidden=None):
        h = torch.relu(self.a(h))
        if hidden is not None:
            h = torch.where(hidden[:, None], self.mask_token, h)
        if not self.training:
            return self.head(h)
        if not self.exportable and bool((h > 1).any()):
            raise ValueError("no training without data")
        return self.head(h), self.auxiliary(self.norm(h))


def test_training_head_has_the_group_of_its_inputs():
    model = Auxiliary()
    symmetry = infer_symmetry(model, x(3, 4))
    (tensors,) = symmetry.tensors_of.values()
    norm = {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert set(tensors) == {"a.weight", "a.bias", "head.weight", "auxiliary.weight"} | norm
    assert "mask_token" in symmetry.unused and "auxiliary.weight" not in symmetry.unused


def test_tensors_of_an_unexportable_training_mode_are_unused():
    symmetry = infer_symmetry(Auxiliary(exportable=False), x(3, 4))
    assert sizes(symmetry) == [(WIDTH, 0)]
    assert {"mask_token", "norm.weight", "auxiliary.weight"} <= set(symmetry.unused)


def test_training_does_not_change_running_statistics():
    model = nn.Sequential(nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), head())
    model.register_parameter("never", parameter(3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    infer_symmetry(model, x(3, 4))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


CONVOLUTIONS = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(4, 2),
)  # fmt: skip
FLEXIBLE = {
    "convolutions": (CONVOLUTIONS, x(2, 3, 8, 8)),
    "attention": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), x(2, 5, 8)),
    "recurrence": (nn.LSTM(3, 4, batch_first=True), x(2, 5, 3)),
}


@pytest.mark.parametrize("name", FLEXIBLE)
def test_shape_independent_model_is_exported_once(name, monkeypatch):
    def fix_operands(*args, **kwargs):
        raise AssertionError("exported again")

    monkeypatch.setattr(graphs, "export_variant", fix_operands)
    model, example = FLEXIBLE[name]
    infer_symmetry(
        model, example, outputs=lambda out: out if isinstance(out, torch.Tensor) else out[0]
    )


class Held(nn.Module):
    """Reads a bias through a reference in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        nn.init.zeros_(self.a.bias)
        self.biases = [self.a.bias]

    def forward(self, h):
        return self.b(torch.relu(F.linear(h, self.a.weight, self.biases[0])))


def test_parameter_read_by_another_reference_is_fixed():
    assert sizes(infer_symmetry(Held(), x(2, 4))) == []


def read_rows(m, *inputs):
    *others, h = inputs
    rows = m.table[: h.shape[1]]
    read = m.head(torch.tanh(torch.softmax(m.e(h) @ rows.T, -1) @ rows).mean(1))
    return sum((other.mean(1, keepdim=True) for other in others), start=read)


def table_of_rows(forward, **members):
    parts = {"e": nn.Linear(3, WIDTH), "table": parameter(ROWS, WIDTH), "head": head()}
    return Function(forward, **parts, **members)


def test_rows_are_fixed_for_any_number_of_inputs():
    others = [x(2, n) for n in range(ROWS + 1, ROWS + 8)]
    assert sizes(infer_symmetry(table_of_rows(read_rows), (*others, x(2, ROWS, 3)))) == [(WIDTH, 0)]


def test_rows_are_fixed_in_a_model_that_reads_a_value():
    model = table_of_rows(lambda m, *inputs: read_rows(m, *inputs) * m.scale.item())
    model.register_buffer("scale", torch.tensor(2.0))
    assert sizes(infer_symmetry(model, (x(2, 7), x(2, ROWS, 3)))) == [(WIDTH, 0)]
    assert model.scale == 2


def test_tensors_used_by_longer_inputs_only_have_the_group_with_a_value():
    def scale_longer(m, h):
        h = torch.relu(m.e(h))
        return m.head(h if h.shape[1] < 8 else m.gain * h * m.scale.item())

    model = Function(scale_longer, e=nn.Linear(3, WIDTH), gain=parameter(WIDTH), head=head())
    model.register_buffer("scale", torch.tensor(2.0))
    (tensors,) = infer_symmetry(model, x(2, 5, 3)).tensors_of.values()
    assert "gain" in tensors


def test_unrecordable_model_is_exported_at_every_shape(monkeypatch):
    monkeypatch.setattr(graphs.CallRecorder, "record", lambda *args: None)
    model = table_of_rows(read_rows)
    assert sizes(infer_symmetry(model, (x(2, 7), x(2, ROWS, 3)))) == [(WIDTH, 0)]


def test_units_are_fixed_if_a_dimension_of_size_one_cannot_be_exported(monkeypatch):
    model = Function(lambda m, h: m.head(torch.relu(m.e(h))), e=nn.Linear(3, WIDTH), head=head())
    assert sizes(infer_symmetry(model, x(2, 1, 3))) == [(WIDTH, 0)]
    monkeypatch.setattr(graphs, "export_variant", lambda *args, **kwargs: None)
    assert sizes(infer_symmetry(model, x(2, 1, 3))) == []


class Noisy(nn.Module):
    """Draws from every global random number generator."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, WIDTH), head(), nn.Linear(3, 2)

    def forward(self, h):
        noise = torch.randn(2) + random.random() + np.random.random()  # noqa: NPY002
        rest = self.c(h) if self.training else noise
        return self.b(torch.relu(self.a(h))) + rest


def test_inference_preserves_the_global_random_states():
    def seed():
        torch.manual_seed(0), random.seed(0), np.random.seed(0)  # noqa: NPY002

    def draws():
        return torch.rand(1).item(), random.random(), np.random.random()  # noqa: NPY002

    model = Noisy()
    seed()
    expected = draws()
    seed()
    infer_symmetry(model, x(4, 3))
    assert draws() == expected


def test_unsupported_operator_in_training_is_reported():
    def forward(m, h):
        h = torch.relu(m.e(h))
        return (m.head(h), m.auxiliary(torch.linalg.qr(h).R)) if m.training else m.head(h)

    model = Function(forward, e=nn.Linear(3, WIDTH), head=head(), auxiliary=head())
    symmetry = infer_symmetry(model, x(4, 3))
    assert sizes(symmetry) == [(WIDTH, 0)]
    (unsupported,) = symmetry.unsupported_ops
    assert unsupported.operator == "aten.linalg_qr.default" and "qr" in unsupported.location
    assert unsupported.reason.startswith("in training mode: ")
    assert unsupported.tensors == ("auxiliary.bias", "auxiliary.weight")
