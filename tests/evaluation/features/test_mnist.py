"""The figures of `benchmarks/mnist.py` on real MNIST agree with the literature."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mnist", repository / "benchmarks" / "mnist.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository / "benchmarks")  # as when it is run as a program
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures(benchmark: ModuleType, data_root: Path) -> dict[str, Any]:
    """Those of the two networks of the benchmark; takes about a minute."""
    if not (data_root / "mnist").is_dir():
        pytest.skip(f"no mnist/ in {data_root}")
    data = benchmark.load_data(data_root)
    assert (len(data.train_inputs), len(data.test_inputs)) == (60_000, 10_000)
    threads = torch.get_num_threads()
    # Threads that wait for each other by spinning make a busy machine several times slower.
    torch.set_num_threads(1)
    try:
        params = [benchmark.train(data, seed) for seed in (1, 2)]
        # Halfway is among the points; a barrier over more of them can only be a little higher.
        return benchmark.measure(data, *params, num_points=5)
    finally:
        torch.set_num_threads(threads)


def test_aligned_networks_are_connected_and_others_are_not(figures: dict[str, Any]) -> None:
    assert figures["naive"]["barrier"]["train"] > 0.5
    assert figures["aligned"]["barrier"]["train"] < 0.01
    assert figures["aligned"]["barrier"]["test"] < 0.01


def test_features_are_linear_layer_by_layer_once_aligned(figures: dict[str, Any]) -> None:
    naive, aligned = figures["naive"]["llfc"], figures["aligned"]["llfc"]
    layers = list(aligned)
    assert layers == ["0.linear", "1.relu", "2.linear", "3.relu", "4.linear", "5.relu", "6.linear"]
    for layer in layers:
        assert aligned[layer]["examples"] == 10_000
        assert aligned[layer]["1-cos"] <= 0.03, layer
        assert aligned[layer]["1-cos"] <= aligned[layer]["1-cos ends"] / 5, layer
    for layer in layers[1:]:
        assert naive[layer]["1-cos"] > 3 * aligned[layer]["1-cos"], layer
        assert 0.7 < aligned[layer]["projection"] <= 1.01, layer
        assert abs(aligned[layer]["c"] - 1) < 0.35, layer
        assert naive[layer]["c"] - 1 > 4 * abs(aligned[layer]["c"] - 1), layer


def test_additivity_and_commutativity_are_in_order(figures: dict[str, Any]) -> None:
    naive, aligned = figures["naive"], figures["aligned"]
    assert list(aligned["additivity"]) == ["1.relu", "3.relu", "5.relu"]
    assert list(aligned["commutativity"]) == ["0.linear", "2.linear", "4.linear", "6.linear"]
    for layer, distance in aligned["additivity"].items():
        assert naive["additivity"][layer] > 3 * distance, layer
    for layer in ("2.linear", "4.linear", "6.linear"):
        assert naive["commutativity"][layer] > 5 * aligned["commutativity"][layer], layer
    assert naive["commutativity"]["0.linear"] == aligned["commutativity"]["0.linear"] == 0


def test_benchmark_names_the_failed_check(benchmark: ModuleType, figures: dict[str, Any]) -> None:
    assert benchmark.failed(figures) == []
    crossed = {"naive": figures["aligned"], "aligned": figures["naive"]}
    failures = benchmark.failed(crossed)
    assert "the aligned training barrier is high" in failures
    assert "3.relu: 1-cos of the aligned pair" in failures
    assert "5.relu: additivity is not in order" in failures
    assert "Failed: the naive training barrier is low" in benchmark.page(crossed, failures, {})
    assert "All criteria hold." in benchmark.page(figures, [], {})
