"""Inferred groups of random programs preserve the function of the module.

A failure reports the smallest program with the fault. For a longer search, set
`ONEBASIN_PROGRAMS=5000`, the number of programs.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cache

import pytest
import torch

from onebasin.symmetry._inference import graphs, inference
from tests.symmetry.inference.faults import Finding, inspect, shrunk
from tests.symmetry.inference.quick_graphs import quick_export, quick_variant
from tests.symmetry.inference.random_operators import OPERATORS
from tests.symmetry.inference.random_programs import Line, Program, Source, random_program

PROGRAMS = int(os.environ.get("ONEBASIN_PROGRAMS", "60"))
EXPORTED = 60
"""Interval of programs that use torch.export itself."""


@pytest.fixture(autouse=True)
def in_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@cache
def program(seed: int) -> Program:
    return random_program(seed, OPERATORS)


@pytest.fixture(scope="module")
def findings() -> dict[int, Finding]:
    return {}


@pytest.mark.parametrize("first", range(0, PROGRAMS, 12))
def test_inferred_groups_preserve_the_function(first, findings, monkeypatch):
    for seed in range(first, min(first + 12, PROGRAMS)):
        with monkeypatch.context() as patch:
            if seed % EXPORTED:
                patch.setattr(inference, "export_model", quick_export)
                patch.setattr(graphs, "export_variant", quick_variant)
            finding = findings[seed] = inspect(program(seed))
            if finding.fault:
                small = shrunk(program(seed), lambda p, k=finding.kind: inspect(p).kind == k)
                pytest.fail(f"seed {seed}: {finding.fault}\n{small}\n{inspect(small)}")


def test_most_programs_have_permutable_groups(findings):
    if len(findings) < PROGRAMS:
        pytest.skip("needs the findings of the test before it")
    moving = [f for f in findings.values() if f.symmetry is not None and f.symmetry.groups]
    nested = [
        f for f in moving if f.symmetry and any(g.nested_in for g in f.symmetry.groups.values())
    ]
    assert len(moving) > 0.6 * PROGRAMS
    assert len(nested) > 0.15 * PROGRAMS


def test_programs_use_every_operator():
    used = Counter(line.operator for seed in range(PROGRAMS) for line in program(seed).lines)
    assert set(used) >= set(OPERATORS)


def test_check_detects_an_invalid_group(monkeypatch):
    def forgetful(*args, **kwargs):
        exported = quick_export(*args, **kwargs)
        for node in exported.graph_module.graph.nodes:
            if "cumsum" in str(node.target):
                node.target = torch.ops.aten.sin.default
        return exported

    monkeypatch.setattr(inference, "export_model", forgetful)
    sources = {"x0": Source("input", (2, 4)), "p1": Source("parameter", (6, 4))}
    lines = (Line(("v0",), "F.linear(x0, p1)"), Line(("v1",), "v0.cumsum(1)"),
             Line(("v2",), "v1.tanh()"), Line(("v3",), "v2.square().sum(1)"))  # fmt: skip
    wrong = Program(sources, lines, ("v3",))
    assert inspect(wrong).kind == "wrong"
    small = shrunk(wrong, lambda p: inspect(p).kind == "wrong")
    assert [line.expression for line in small.lines][-1] == "v1.square().sum(1)"
