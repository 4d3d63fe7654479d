"""Committed pages of benchmarks are the rendering of their committed figures."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from onebasin.matching.registry import MATCHERS

PAGES = {
    "annealing": "annealing",
    "matchers": "matchers_page",
    "mnist": "mnist",
    "random_programs": "random_programs",
    "training": "training",
    "weight_matching": "weight_matching",
}
"""The module that renders each page."""


def import_benchmark(name: str, repository: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module of `benchmarks/` as one of its programs does."""
    patch.syspath_prepend(repository / "benchmarks")
    before = set(sys.modules)
    module = importlib.import_module(name)
    for added in set(sys.modules) - before:  # short names such as `training` could collide
        if str(repository / "benchmarks") in str(getattr(sys.modules[added], "__file__", "")):
            del sys.modules[added]
    return module


def render(module: ModuleType, figures: dict[str, Any]) -> str:
    """Return the page for the figures of its JSON file."""
    if module.__name__ == "mnist":
        pairs = {name: figures[name] for name in ("naive", "aligned")}
        return module.page(pairs, figures["failed"], figures["environment"])
    return module.page(figures["rows"], figures["environment"])


@pytest.mark.parametrize("name", PAGES)
def test_page_is_rendered_from_its_figures(
    name: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository / "docs" / "benchmarks"
    figures = json.loads((folder / f"{name}.json").read_text("utf-8"))
    text = render(import_benchmark(PAGES[name], repository, monkeypatch), figures)
    assert (folder / f"{name}.md").read_text("utf-8") == text


def test_figures_have_one_line_for_each_row(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_json = import_benchmark("publishing", repository, monkeypatch).to_json
    figures = {"environment": {"seed": 0}, "rows": [{"a": [1, 2]}, {"a": []}], "failed": []}
    text = to_json(figures)
    assert json.loads(text) == figures
    assert '\n  {"a": [1, 2]},\n  {"a": []}\n' in text
    committed = (repository / "docs" / "benchmarks" / "random_programs.json").read_text("utf-8")
    assert committed == to_json(json.loads(committed)) + "\n"


def test_matchers_of_the_benchmark_exist(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = import_benchmark("matchers", repository, monkeypatch)
    assert benchmark._parser().parse_args([]).matchers == list(benchmark.SETTINGS)
    for name, (method, options) in benchmark.SETTINGS.items():
        given = {key: value for key, value in options.items() if key != "init"}
        assert method in MATCHERS or name == "none"
        assert given.keys() <= (MATCHERS[method].options.keys() if method else set())
        assert options.get("init", "combined") in benchmark.SETTINGS
    with_statistics = {"norm.running_mean": torch.zeros(2)}
    uses_batches = {
        name
        for name in benchmark.SETTINGS
        if name != "none" and benchmark._normalization(name, with_statistics)
    }
    assert {"straight-through", "sinkhorn, midpoint"} <= uses_batches
    assert not {"weights", "combined", "sinkhorn, weights"} & uses_batches


def test_peak_memory_measures_an_allocation(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("reads /proc, which only Linux has")
    memory = import_benchmark("memory", repository, monkeypatch)
    monkeypatch.setattr(memory, "INTERVAL", 0.001)
    with memory.PeakMemory() as peak:
        block = bytearray(b"\x01") * (64 << 20)
        peak._done.wait(0.2)
    assert len(block) == 64 << 20
    assert 0.05 < peak.gibibytes < 1
