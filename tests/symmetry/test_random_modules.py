"""Random modules keep their function at every input shape when inferred groups move."""

from __future__ import annotations

import pytest

from benchmarks.programs.check import OPERATORS, check, program_of, shrunk
from benchmarks.programs.program import Program
from onebasin.symmetry.inference import export, tracing
from onebasin.symmetry.inference.rules import RULES
from tests.symmetry.inference.quick_graphs import quick_export

SAMPLE, BUNDLE = 60, 10
SIZES = ({"B": 2, "T": 4}, {"B": 3, "T": 6}, {"B": 1, "T": 3})


def program(*lines: str, **parameters: tuple[int, ...]) -> Program:
    outputs = (lines[-1].split(" ")[0],)
    return Program(("B", "T", 5), SIZES, parameters, {}, lines, outputs)


@pytest.mark.parametrize("first", range(0, SAMPLE, BUNDLE))
def test_inferred_groups_do_not_change_the_function(first, monkeypatch):
    if first:  # torch.export takes most of the time
        monkeypatch.setattr(tracing, "export_model", quick_export)
    outcomes = check([program_of(seed) for seed in range(first, first + BUNDLE)])
    assert {first + i: o.fault for i, o in enumerate(outcomes) if o.fault} == {}
    assert sum(outcome.groups > 0 for outcome in outcomes) > 0.3 * BUNDLE


def test_programs_use_every_operator_and_accept_every_input_shape():
    programs = [program_of(seed) for seed in range(300)]
    assert {name for p in programs for name in p.operators} >= set(OPERATORS)
    assert all(len({x.shape for x in map(p.example, range(3))}) > 1 for p in programs)


def test_the_check_sees_a_broken_rule(monkeypatch):
    scan = program(
        "v0 = F.linear(x0, p0)",
        "v1 = v0.tanh()",
        "v2 = v1.cumsum(-1)",
        "v3 = F.linear(v2, p1)",
        p0=(6, 5),
        p1=(2, 6),
    )
    assert check([scan])[0].fault == ""
    monkeypatch.setitem(RULES, "aten.cumsum", lambda call: call["self"].dims)
    assert "wrong group" in check([scan])[0].fault
    small = shrunk(scan, lambda p: bool(check([p])[0].fault))
    assert len(small.lines) <= 3


def test_the_check_sees_an_unseen_write(monkeypatch):
    written = program(
        "v0 = F.linear(x0, p0)",
        "v0[..., :3].tanh_()",
        "v1 = F.linear(v0, p1)",
        p0=(6, 5),
        p1=(2, 6),
    )
    assert check([written])[0].fault == ""
    monkeypatch.setattr(export, "needs_functionalization", lambda graph_module: False)
    assert "wrong group" in check([written])[0].fault


def test_a_failing_program_does_not_hide_the_others():
    good = program("v0 = F.linear(x0, p0)", "v1 = F.linear(v0.tanh(), p1)", p0=(6, 5), p1=(2, 6))
    bad = program("v0 = F.linear(x0, p0)", "v1 = v0[v0 > 0]", p0=(6, 5))
    outcomes = check([good, bad])
    assert [outcome.refused for outcome in outcomes] == [False, True]
    assert outcomes[0].groups == 1
