"""No typing rule ignores an operand, unless it is irrelevant or unsupported."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin import infer_symmetry
from onebasin.symmetry._inference.rules import IRRELEVANT, RULES
from tests.symmetry.inference.equivariance import sizes
from tests.symmetry.inference.snippets import Function, check, x

PACKAGE = "onebasin.symmetry._inference.rules"


REFUSED = {
    "aten._scaled_dot_product_flash_attention.quantized": {"q_descale", "k_descale", "v_descale"},
    "aten._functional_assert_async.msg": {"self", "dep_token"},
    "aten.linspace.Scalar_Tensor": {"end"},
    "aten.linspace.Tensor_Scalar": {"start"},
    "aten.linspace.Tensor_Tensor": {"start", "end"},
    "aten.logspace.Scalar_Tensor": {"end"},
    "aten.logspace.Tensor_Scalar": {"start"},
    "aten.logspace.Tensor_Tensor": {"start", "end"},
    "aten.randint_like.Tensor": {"high"},
    "aten.randint_like.Tensor_generator": {"high"},
    "aten.tensor_split.tensor_indices_or_sections": {"tensor_indices_or_sections"},
}
"""Operands without a rule; with several entries, they make the operator unsupported."""


def code_of(function: FunctionType, seen: set[FunctionType]) -> Iterator[CodeType]:
    """Yield the code of a rule and of all functions of the package that it may call."""
    function = inspect.unwrap(function)  # type checks wrap functions under pytest
    if function in seen or not function.__module__.startswith(PACKAGE):
        return
    seen.add(function)
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        yield code
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for name in code.co_names:
            called = function.__globals__.get(name)
            if isinstance(called, FunctionType):
                yield from code_of(called, seen)
    for cell in function.__closure__ or ():
        if isinstance(cell.cell_contents, FunctionType):
            yield from code_of(cell.cell_contents, seen)


def strings(constants: tuple) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, tuple):
            yield from strings(constant)
        elif isinstance(constant, str):
            yield constant


def tensor_arguments(schema: torch._C.FunctionSchema) -> list[str]:
    return [a.name for a in schema.arguments if "Tensor" in str(a.type)]


def read_by(rule: FunctionType, tensors: list[str]) -> set[str]:
    """Return the names in `tensors` that occur in the code of a rule."""
    codes = list(code_of(rule, set()))
    if any("values" in code.co_names for code in codes):
        return set(tensors)
    read = {text for code in codes for text in strings(code.co_consts)} & set(tensors)
    if any("first" in code.co_names for code in codes):
        read |= set(tensors[:1])
    return read


def overloads(name: str) -> Iterator[torch._ops.OpOverload]:
    packet = getattr(torch.ops.aten, name.removeprefix("aten."), None)
    for overload in packet.overloads() if packet is not None and name.startswith("aten.") else ():
        operator = getattr(packet, overload)
        if not any(argument.is_out for argument in operator._schema.arguments):
            yield operator


def test_every_rule_reads_every_operand():
    ignored = []
    for name, rule in RULES.items():
        for operator in overloads(name):
            schema = operator._schema
            if not any("Tensor" in str(value.type) for value in schema.returns):
                continue
            tensors = tensor_arguments(schema)
            read = read_by(rule, tensors) | IRRELEVANT.get(name, frozenset())
            read |= REFUSED.get(str(operator), set())
            ignored += [f"{operator}: {argument}" for argument in tensors if argument not in read]
    assert ignored == []


def test_operand_check_detects_an_ignored_operand():
    def forgetful(call):
        return call["self"].dims

    forgetful.__module__ = f"{PACKAGE}.slices"
    schema = torch.ops.aten.diff.default._schema
    assert read_by(forgetful, tensor_arguments(schema)) == {"self"}


def test_operator_with_an_ignored_operand_is_unsupported(monkeypatch):
    monkeypatch.setitem(RULES, "aten.diff", lambda call: call["self"].dims)
    model = Function(
        lambda m, h: m.b(torch.diff(m.a(h), dim=0, prepend=m.p)),
        a=nn.Linear(3, 6),
        p=nn.Parameter(x(1, 6)),
        b=nn.Linear(6, 2),
    )
    symmetry = infer_symmetry(model, x(4, 3))
    assert symmetry.groups == {}
    assert "ignores 'prepend'" in symmetry.unsupported_ops[0].reason


def test_operator_with_a_failing_rule_is_unsupported(monkeypatch):
    monkeypatch.setitem(RULES, "aten.cumsum", lambda call: [][0])
    model = Function(lambda m, h: m.b(m.a(h).cumsum(0)), a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    symmetry = infer_symmetry(model, x(4, 3))
    assert symmetry.groups == {}
    (refusal,) = symmetry.unsupported_ops
    assert refusal.operator == "aten.cumsum.default"
    assert "IndexError" in refusal.reason


def test_operator_with_layouts_of_wrong_size_is_unsupported(monkeypatch):
    monkeypatch.setitem(RULES, "aten.cumsum", lambda call: call["self"].dims[::-1])
    model = Function(lambda m, h: m.b(m.a(h).cumsum(0)), a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    assert "layouts of sizes ((6, 4),)" in infer_symmetry(model, x(4, 3)).unsupported_ops[0].reason


def autoencoder(c):
    return {
        "a": nn.Conv2d(3, c, 3, padding=1),
        "b": nn.Conv2d(c, c, 3, padding=1),
        "c": nn.Conv2d(c, 2, 3, padding=1),
    }


def unpooled(m, h):
    pooled, places = F.max_pool2d(m.a(h).relu(), 2, return_indices=True)
    return m.c(F.max_unpool2d(m.b(pooled).relu(), places, 2))


def attended(m, h):
    query, value = (m[name](h).unflatten(-1, (3, 4)).transpose(1, 2) for name in "qv")
    heads = F.scaled_dot_product_attention(query, m["k"](h)[:, None], value)
    return m["o"](heads.transpose(1, 2).flatten(2))


def test_unpooled_channels_share_a_group_with_their_indices():
    assert sizes(check(Function(unpooled, **autoencoder(6)), x(2, 3, 8, 8))) == [(6, 0)]


@pytest.mark.parametrize("side", ["prepend", "append"])
def test_differences_unify_their_operands(side):
    model = Function(
        lambda m, h: m.b(torch.diff(m.a(h), dim=-1, **{side: m.p.expand(h.shape[0], 6, 1)}).relu()),
        a=nn.Conv1d(3, 6, 1),
        b=nn.Conv1d(6, 2, 1),
        p=nn.Parameter(x(6, 1)),
    )
    assert sizes(check(model, x(2, 3, 5))) == [(6, 0)]


def test_view_as_is_a_reshape():
    model = Function(
        lambda m, h: m.b(m.a(h).relu().view_as(h.new_zeros(h.shape[0], 3, 4))).tanh().sum(1),
        a=nn.Linear(3, 12),
        b=nn.Linear(4, 2),
    )
    assert sizes(check(model, x(5, 3))) == [(3, 0), (4, 0)]


def test_weights_of_a_bag_are_fixed():
    model = Function(
        lambda m, i: m.b(m.a(i, per_sample_weights=m.p.expand(i.shape)).relu()),
        a=nn.EmbeddingBag(20, 8, mode="sum"),
        b=nn.Linear(8, 2),
        p=nn.Parameter(x(6)),
    )
    assert sizes(check(model, torch.arange(18).view(3, 6))) == [(8, 0)]


def test_single_key_head_unifies_query_and_value_heads():
    layers = {"q": nn.Linear(6, 12), "k": nn.Linear(6, 4), "v": nn.Linear(6, 12)}
    model = nn.ModuleDict({**layers, "o": nn.Linear(12, 6)})
    wrapped = Function(lambda m, h: attended(m.layers, h), layers=model)
    assert sizes(check(wrapped, x(2, 5, 6))) == [(3, 0), (4, 0), (4, 1)]


def test_msort_sorts_the_first_dimension():
    model = Function(
        lambda m, h: m.b(torch.msort(m.a(h).t()).t()), a=nn.Linear(3, 6), b=nn.Linear(6, 2)
    )
    symmetry = check(model, x(4, 3))
    assert str(symmetry.layouts["a.weight"][0]) == "a:6"
    assert str(symmetry.layouts["b.weight"][1]) == "6"


def test_strided_view_of_a_transpose_is_unsupported():
    model = Function(
        lambda m, h: m.b((m.a(h) @ m.p.t().as_strided((6, 6), (6, 1))).relu()),
        a=nn.Linear(5, 6),
        b=nn.Linear(6, 2),
        p=nn.Parameter(x(6, 6)),
    )
    symmetry = check(model, x(4, 5))
    assert symmetry.groups == {}
    assert [refusal.operator for refusal in symmetry.unsupported_ops] == ["aten.as_strided.default"]


def test_samples_of_fractional_pooling_have_the_channel_group():
    def forward(m, h):
        samples = m.p.sigmoid().expand(h.shape[0], 6, 2)
        return m.b(F.fractional_max_pool2d(m.a(h), 2, output_size=5, _random_samples=samples))

    model = Function(
        forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1), p=nn.Parameter(3 * x(6, 2))
    )
    assert sizes(check(model, x(2, 3, 16, 16))) == [(6, 0)]


def test_weight_norm_over_all_dimensions_keeps_all_groups():
    a = nn.utils.parametrizations.weight_norm(nn.Linear(3, 8), dim=None)
    model = nn.Sequential(a, nn.ReLU(), nn.Linear(8, 2))
    assert sizes(check(model, x(4, 3))) == [(8, 0)]


def test_any_over_no_dimension_is_pointwise():
    model = Function(
        lambda m, h: m.b(torch.ops.aten.any.dims(m.a(h) > 0, []).to(h.dtype)),
        a=nn.Linear(3, 8),
        b=nn.Linear(8, 2),
    )
    assert sizes(check(model, x(4, 3))) == [(8, 0)]


@pytest.mark.parametrize(
    ("dtype", "width", "groups"), [("int8", 4, [(8, 0)]), ("int32", 1, [(8, 0)])]
)
def test_bytes_of_an_entry_are_fixed(dtype, width, groups):
    model = Function(
        lambda m, h: m.b(m.a(h).float().view(getattr(torch, dtype)).to(h.dtype).sigmoid()),
        a=nn.Linear(3, 8),
        b=nn.Linear(8 * width, 2),
    )
    assert sizes(check(model, x(4, 3))) == groups


def test_entries_composed_of_smaller_ones_are_units():
    model = Function(
        lambda m, h: m.b(m.a(h).to(torch.int8).view(torch.int32).to(h.dtype).sigmoid()),
        a=nn.Linear(3, 8),
        b=nn.Linear(2, 2),
    )
    assert sizes(check(model, x(4, 3))) == [(2, 0)]


VALUES = {
    "max": lambda h: h * h.max(1, keepdim=True)[0],
    "min": lambda h: h - h.min(1, True).values,
    "median": lambda h: h - h.median(1, keepdim=True)[0],
    "kthvalue": lambda h: h - h.kthvalue(3, 1, keepdim=True)[0],
    "k-winners": lambda h: h * (h >= h.topk(3, 1)[0][:, -1:]),
    "quantile": lambda h: h - torch.quantile(h, 0.5, dim=1, keepdim=True),
    "sparsemax": lambda h: F.relu(
        h - ((h.sort(1, True)[0].cumsum(1) - 1) / torch.arange(1, 7)).amax(1, keepdim=True)
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_sorted_values_do_not_fix_the_units(name):
    model = Function(lambda m, h: m.b(VALUES[name](m.a(h))), a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    assert sizes(check(model, x(4, 3))) == [(6, 0)]


def test_positions_of_sorted_values_fix_the_units():
    def forward(m, h):
        values, places = m.a(h).topk(3, 1)
        return m.b(values) + places.sum(1, keepdim=True)

    model = Function(forward, a=nn.Linear(3, 6), b=nn.Linear(3, 2))
    assert sizes(check(model, x(4, 3))) == []


def test_coordinates_of_points_are_one_group_for_all_pairs():
    model = Function(
        lambda m, h: (torch.pdist(m.points) * m.gain).sum() * h.sum(),
        points=nn.Parameter(x(5, 4)),
        gain=nn.Parameter(x(10)),
    )
    symmetry = check(model, x(3, 2))
    assert [(group.size, group.nested_in) for group in symmetry.groups.values()] == [(4, ())]
