"""Cuts of concatenations: the omitted part depends on the sizes of the parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin import infer_symmetry
from onebasin.symmetry._inference.cuts import Cut, cuts_of, parts_of_result, take_same_parts
from onebasin.symmetry._inference.graphs import graphs_at_other_shapes
from onebasin.symmetry._inference.recording import _flatten
from tests.symmetry.inference.equivariance import assert_equivariant, sizes
from tests.symmetry.inference.snippets import Function, x

WIDTH = 4


def joined(m, h):
    return torch.cat([m.prefix.expand(len(h), 2, WIDTH), m.e(h)], 1)


def padded(m, h):
    return F.pad(m.e(h), (0, 0, 2, 0))


def assigned(m, h):
    rows = h.new_zeros(len(h), h.shape[1] + 2, WIDTH)
    rows[:, 2:] = m.e(h)
    return rows


CUTS = {
    "slice": lambda rows: rows[:, :-2],
    "narrow": lambda rows: rows.narrow(1, 0, rows.shape[1] - 2),
    "split": lambda rows: rows.split([rows.shape[1] - 2, 2], 1)[0],
    "twice": lambda rows: torch.tanh(rows)[:, :-1][:, :-1],
    "transposed": lambda rows: rows.mT[..., :-2].mT,
    "merged": lambda rows: rows.reshape(-1, WIDTH)[: len(rows) * (rows.shape[1] - 2)].view(
        len(rows), -1, WIDTH
    ),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("join", [joined, padded, assigned])
def test_units_omitted_at_short_inputs_are_fixed(join, cut):
    model = Function(
        lambda m, h: torch.tanh(CUTS[cut](join(m, h))),
        e=nn.Linear(5, WIDTH),
        prefix=nn.Parameter(x(1, 2, WIDTH)),
    )
    symmetry = infer_symmetry(model, x(3, 2, 5))
    for length in (2, 4, 5):
        assert_equivariant(symmetry, model, (x(3, length, 5),))
    assert sizes(symmetry) == []


@pytest.mark.parametrize("read", [lambda t: t[:, 0], lambda t: t.select(1, 0), lambda t: t[:, 1:]])
def test_parts_read_at_every_length_need_one_graph(read):
    model = Function(
        lambda m, h: m.head(
            torch.tanh(read(torch.cat([m.token.expand(len(h), 1, WIDTH), m.e(h)], 1)))
        ),
        e=nn.Linear(5, WIDTH),
        token=nn.Parameter(x(1, 1, WIDTH)),
        head=nn.Linear(WIDTH, 2),
    )
    assert graphs_at_other_shapes(model, (x(3, 7, 5),), {}, None).graphs == []
    assert set(sizes(infer_symmetry(model, x(3, 7, 5)))) == {(WIDTH, 0)}


def cut(size, start, stop, *parts):
    return Cut(1, size, start, stop, frozenset([parts]) if parts else frozenset())


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (cut(4, 0, 2, 2, 2), cut(6, 0, 4, 2, 4), False),
        (cut(7, 0, 5, 2, 5), cut(6, 0, 4, 2, 4), True),
        (cut(7, 0, 1, 2, 5), cut(6, 1, 2, 2, 4), False),
        (cut(7, 0, 3), cut(6, 0, 2), True),
        (cut(7, 0, 3), cut(6, 0, 0), False),
        (cut(7, 0, 3), cut(7, 1, 3), False),
        (cut(7, 0, 3, 2, 5), cut(7, 0, 3), False),
    ],
)
def test_cuts_are_compared_by_the_parts_that_they_read(a, b, same):
    assert take_same_parts([a], [b]) is same
    assert take_same_parts([b], [a]) is same


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "spans"),
    [
        ("__getitem__", (slice(None), slice(1, None)), {}, [(0, 0, 3), (1, 1, 5)]),
        ("__getitem__", (..., -1), {}, [(2, 6, 7)]),
        ("__getitem__", slice(0, 2), {}, [(0, 0, 2)]),
        ("__getitem__", (None, 1), {}, [(0, 1, 2)]),
        ("__getitem__", (slice(None), [0, 2]), {}, [(0, 0, 3)]),
        ("select", (-2, 3), {}, [(1, 3, 4)]),
        ("select", (1,), {"index": 0}, [(1, 0, 1)]),
        ("narrow", (), {"dim": 2, "start": 1, "length": 3}, [(2, 1, 4)]),
    ],
)
def test_cuts_are_parsed_from_arguments(name, args, kwargs, spans):
    given = (x(3, 5, 7), args) if name == "__getitem__" else (x(3, 5, 7), *args)
    others = _flatten((given, kwargs))[1]
    cuts = cuts_of(name, (3, 5, 7), others, [], {})
    assert [(c.dim, c.start, c.stop) for c in cuts] == spans


def test_nested_joins_keep_the_parts_of_the_pieces():
    inner = parts_of_result("cat", [(3, 1), (3, 4)], (3, 5), [{}, {}], (), ())
    assert inner == {5: frozenset([(1, 4)])}
    outer = parts_of_result("cat", [(3, 5), (3, 2)], (3, 7), [inner, {}], (), ())
    assert outer == {7: frozenset([(1, 4, 2)])}
    rest = parts_of_result(
        "__getitem__", [(3, 7)], (3, 6), [outer], [Cut(1, 7, 1, 7, outer[7])], ()
    )
    assert rest == {6: frozenset([(4, 2)])}
