"""Inferred groups of random modules preserve the function at every input shape."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.programs.check import OPERATORS, check, program_of, shrunk
from benchmarks.programs.program import Program
from onebasin.symmetry._inference import export, inference
from onebasin.symmetry._inference.graphs import OtherGraphs
from onebasin.symmetry._inference.rules import RULES
from tests.symmetry.inference.quick_graphs import quick_export

SAMPLE, BUNDLE = 30, 15
ALIAS_LOST_BY_QUICK_GRAPHS = "einsum('...c->c...'"
SIZES = ({"B": 2, "T": 4}, {"B": 3, "T": 6}, {"B": 1, "T": 3})


def program(*lines: str, **parameters: tuple[int, ...]) -> Program:
    outputs = (lines[-1].split(" ")[0],)
    return Program(("B", "T", 5), SIZES, parameters, {}, lines, outputs)


def two_layers(*lines: str) -> Program:
    return program("v0 = F.linear(x0, p0)", *lines, p0=(6, 5), p1=(2, 6))


@pytest.fixture
def example_shape_only(monkeypatch):
    """Use quick graphs of the example shape only, because torch.export is slow."""
    monkeypatch.setattr(inference, "export_model", quick_export)
    monkeypatch.setattr(inference, "graphs_at_other_shapes", lambda *args: OtherGraphs())
    monkeypatch.setattr(inference, "graph_in_training", lambda *args: [])


@pytest.mark.parametrize("first", range(0, SAMPLE, BUNDLE))
def test_inferred_groups_preserve_the_function(first, example_shape_only):
    programs = [program_of(seed) for seed in range(first, first + BUNDLE)]
    programs = [p for p in programs if ALIAS_LOST_BY_QUICK_GRAPHS not in str(p)]
    outcomes = check([replace(p, sizes=p.sizes[:1]) for p in programs])
    faults = {str(p): o.fault for p, o in zip(programs, outcomes, strict=True) if o.fault}
    assert faults == {}
    assert sum(outcome.groups > 0 for outcome in outcomes) > 0.3 * BUNDLE


def test_inferred_groups_hold_at_other_input_shapes():
    (outcome,) = check(
        [
            program(
                "v0 = F.linear(x0, p0)",
                "v0[..., :3].tanh_()",
                "v1 = v0 + p1[:x0.shape[1]]",
                "v2 = F.linear(v1.relu(), p2)",
                p0=(6, 5),
                p1=(12, 6),
                p2=(2, 6),
            )
        ]
    )
    assert (outcome.groups, outcome.fault) == (2, "")


def test_programs_use_every_operator_and_accept_every_input_shape():
    programs = [program_of(seed) for seed in range(120)]
    assert {name for p in programs for name in p.operators} >= set(OPERATORS)
    assert all(len({x.shape for x in map(p.example, range(3))}) > 1 for p in programs)


def test_check_detects_a_broken_rule(monkeypatch, example_shape_only):
    scan = two_layers("v1 = v0.tanh()", "v2 = v1.cumsum(-1)", "v3 = F.linear(v2, p1)")
    assert check([scan])[0].fault == ""
    monkeypatch.setitem(RULES, "aten.cumsum", lambda call: call["self"].dims)
    assert "wrong group" in check([scan])[0].fault
    small = shrunk(scan, lambda p: bool(check([p])[0].fault))
    assert len(small.lines) <= 3


def test_check_detects_an_unrecorded_write(monkeypatch):
    written = two_layers("v0[..., :3].tanh_()", "v1 = F.linear(v0, p1)")
    assert check([written])[0].fault == ""
    monkeypatch.setattr(export, "needs_functionalization", lambda graph_module: False)
    assert "wrong group" in check([written])[0].fault


def test_failing_program_does_not_hide_the_others():
    good = two_layers("v1 = F.linear(v0.tanh(), p1)")
    bad = program("v0 = F.linear(x0, p0)", "v1 = v0[v0 > 0]", p0=(6, 5))
    outcomes = check([good, bad])
    assert [outcome.refused for outcome in outcomes] == [False, True]
    assert outcomes[0].groups == 1
